"""Only a small part of the model is trained, and only that travels.

Paper: Exploring Parameter-Efficient Fine-Tuning to Enable Foundation Models in Federated Learning (2022, https://arxiv.org/abs/2210.01708).

No code of its authors was found; this is our reading. As in the paper, the head is trained with every part, since a new task has new classes.
"""

from collections.abc import Iterable, Sequence

from torch import nn

from ...errors import BadParameter, UnknownName
from ...weights.names import listed, matches

#: part -> patterns of names, those of PEFT among them
PARTS = {
    "bias": ("bias", "*.bias"),
    "adapter": ("*lora_*", "*vera_lambda_*", "*ia3_*", "*adapter*"),
    "prompt": ("*prompt*", "*prefix*"),
    "head": (),
}


def fedpeft(model: nn.Module, part: str | Sequence[str] = "bias", head: str | None = None) -> dict[str, str]:
    """`tensors` of a strategy in which a part of the model and its head are trained, pooled and sent; the rest is kept as it is everywhere.

    `history[i]["bytes_up"]` then counts the part alone.

    Args:
        model: of the federation.
        part: bias, adapter, prompt or head, or patterns of names.
        head: name of the module that is the head; None takes the last module with parameters of its own, and "" none.

    Raises:
        BadParameter: the model has no parameter.
        UnknownName: no parameter is of the part; the model has no such head.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    >>> fedpeft(model, "bias")
    {'0.bias': 'pool', '1.weight': 'pool', '1.bias': 'pool', '*': 'keep'}
    """
    names = [name for name, _ in model.named_parameters()]
    patterns = PARTS.get(part, (part,)) if isinstance(part, str) else tuple(part)
    chosen = {name for name in names if any(matches(pattern, name) for pattern in patterns)}
    if patterns and not chosen:
        raise UnknownName(f"fedpeft: no parameter of the model is called like {listed(patterns)}; it has {listed(names)}.")
    chosen |= set(_head(model, names, head))
    return {name: "pool" for name in names if name in chosen} | {"*": "keep"}


def _head(model: nn.Module, names: Sequence[str], head: str | None) -> Iterable[str]:
    if not names:
        raise BadParameter("fedpeft: the model has no parameter.")
    if head == "":
        return ()
    prefix = names[-1].rpartition(".")[0] if head is None else head
    found = [name for name in names if name.startswith(f"{prefix}.") or (prefix == "" and "." not in name)]
    if not found:
        raise UnknownName(f"fedpeft: the head {head!r} is no module of the model with parameters; it has {listed(names)}.")
    return found
