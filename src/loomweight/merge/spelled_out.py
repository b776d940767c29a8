"""Names that some models store for a tensor they share, and others leave out: `lm_head.weight` of a tied model in a torch file."""

from collections.abc import Iterable, Mapping

from ..weights import Weights


def spelled_out(models: Iterable[str], inputs: Mapping[str, Weights]) -> dict[str, str]:
    """alias -> owner, for the names that only some of the models have, and each of these as a second name of a tensor that all have.

    Such a name holds no data of its own, so the models agree without it.

    >>> import torch
    >>> shared = torch.ones(2)
    >>> both, one = Weights.of({"embed_tokens.weight": shared, "lm_head.weight": shared}), Weights.of({"embed_tokens.weight": shared})
    >>> spelled_out(["a", "b"], {"a": both, "b": one})
    {'lm_head.weight': 'embed_tokens.weight'}
    >>> spelled_out(["a", "b"], {"a": both, "b": both})
    {}
    """
    sets = [inputs[model] for model in models]
    found: dict[str, str] = {}
    for name in dict.fromkeys(alias for weights in sets for alias in weights.ties):
        holders = [weights for weights in sets if name in weights]
        owners = {weights.ties.get(name, "") for weights in holders}
        owner = min(owners)
        if len(holders) < len(sets) and len(owners) == 1 and all(owner in weights for weights in sets):
            found[name] = owner
    return found
