"""Which option a trained relaxed model needs most: take one out, and look.

Paper: Rethinking Architecture Selection in Differentiable NAS (2021, https://arxiv.org/abs/2108.04392), algorithm 1.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ...search.randomness import Source, numbers_of
from ..elastic import Values
from .coefficients import Field
from .relaxed import Relaxed


def select_by_perturbation(
    mixed: Relaxed, evaluate: Callable[[Relaxed], float], *, tune: Callable[[Relaxed], object] | None = None, seed: Source = 0
) -> Values:
    """For each field in random order: the option whose removal hurts most is kept, with coefficient 1, and the model is tuned.

    The size of an alpha does not say how much an option matters. Removing sets its coefficient to 0; the others stay as they are. Of the
    edges of a node, decided last, those whose removal hurts least go one by one.

    Args:
        mixed: trained; its alphas stay, `held` and `masks` then say what was decided.
        evaluate: the relaxed model -> its loss on validation data, lower is better.
        tune: trains the relaxed model a little after each decision.
        seed: of the order.

    Returns:
        The configuration.

    >>> from torch import nn
    >>> from loomweight.supernet import Choice, relaxed
    >>> mixed = relaxed(Choice({"keep": nn.Identity(), "add": nn.Dropout(0.0)}))
    >>> half = mixed.held.setdefault("model", torch.tensor([0.9, 0.1]))
    >>> select_by_perturbation(mixed, lambda net: float((net(torch.ones(1)) - 0.9).abs()))
    {'model': 'keep'}
    """
    names = list(mixed.fields)
    order = [names[i] for i in numbers_of(seed).permutation(len(names))]
    for name in sorted(order, key=lambda name: mixed.fields[name].subset):
        field = mixed.fields[name]
        kept = _edges(mixed, field, evaluate) if field.subset else _operator(mixed, field, evaluate)
        if field.subset:
            mixed.masks[name] = kept
        else:
            mixed.held[name] = kept
        if tune is not None:
            tune(mixed)
    return mixed.values()


def _operator(mixed: Relaxed, field: Field, evaluate: Callable[[Relaxed], float]) -> Tensor:
    losses = [loss for _, loss in _losses(mixed, field, range(len(field.options)), evaluate)]
    worst = max(range(len(losses)), key=losses.__getitem__)
    return torch.eye(len(losses), device=mixed.alphas[field.name].device)[worst]


def _edges(mixed: Relaxed, field: Field, evaluate: Callable[[Relaxed], float]) -> Tensor:
    kept = torch.ones(len(field.options), device=mixed.alphas[field.name].device)
    while int(kept.sum()) > field.count:
        mixed.masks[field.name] = kept
        least, _ = min(_losses(mixed, field, kept.nonzero().flatten().tolist(), evaluate), key=lambda found: found[1])
        kept = kept.clone()
        kept[least] = 0
    return kept


def _losses(mixed: Relaxed, field: Field, options: "range | list[int]", evaluate: Callable[[Relaxed], float]) -> Iterator[tuple[int, float]]:
    """(option, loss without it)."""
    before = mixed.masks.get(field.name), mixed.held.get(field.name)
    device = mixed.alphas[field.name].device
    for option in options:
        without = torch.ones(len(field.options), device=device) if before[0] is None else before[0].clone()
        without[option] = 0
        with torch.no_grad():
            coefficients = mixed.coefficients[field.name].mean(mixed.alphas[field.name], field) if before[1] is None else before[1]
        mixed.held[field.name] = coefficients * without
        yield option, float(evaluate(mixed))
        if before[1] is None:
            del mixed.held[field.name]
        else:
            mixed.held[field.name] = before[1]
