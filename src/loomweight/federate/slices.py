"""Which tensors travel, and what becomes of each at the server: partial models are slices of named tensors."""

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import BadParameter, UnknownName
from ..weights.names import listed, matches

#: pool: by the strategy's aggregate. mean, sum, max: of the clients' changes, whatever the aggregate is. keep: as it is, at the server and at the clients;
#: it never travels. local: each client has its own, which never travels.
How = Literal["pool", "mean", "sum", "max", "keep", "local"]
TRAVELS = ("pool", "mean", "sum", "max")
_COUNTS = ("*num_batches_tracked", "num_batches_tracked")


def slices(weights: Mapping[str, Tensor], table: Mapping[str, str], frozen: Iterable[str] = ()) -> dict[str, How]:
    """What becomes of each tensor: the first pattern of the table that fits its name decides.

    Where none does, floating tensors are pooled, BatchNorm's counts take the maximum, other integers and frozen tensors are kept.

    Args:
        weights: of the model.
        table: pattern -> word, see `How`.
        frozen: names of tensors that are not trained.

    Raises:
        BadParameter: a word that is none; integers that would be pooled.
        UnknownName: a pattern that no tensor fits.

    >>> slices({"a.weight": torch.ones(2), "b.weight": torch.ones(2)}, {"b.*": "local"})
    {'a.weight': 'pool', 'b.weight': 'local'}
    """
    for pattern, word in table.items():
        if word not in get_args(How):
            raise BadParameter(f"tensors {pattern!r}: the word is one of {', '.join(get_args(How))}, found {word!r}.")
        if not any(matches(pattern, name) for name in weights):
            raise UnknownName(f"tensors {pattern!r}: no tensor of the model is called so; it has {listed(weights)}.")
    still = set(frozen)
    return {name: _how(name, tensor, table, name in still) for name, tensor in weights.items()}


def _how(name: str, tensor: Tensor, table: Mapping[str, str], frozen: bool) -> How:
    found = next((word for pattern, word in table.items() if matches(pattern, name)), None)
    floating = tensor.is_floating_point()
    if found is None:
        if any(matches(pattern, name) for pattern in _COUNTS):
            return "max"
        return "pool" if floating and not frozen else "keep"
    if found in ("pool", "mean") and not floating:
        raise BadParameter(f"tensor {name!r} holds {str(tensor.dtype).removeprefix('torch.')}; integers are never averaged: say max, sum, keep or local.")
    return found  # type: ignore[return-value]


def combined_alone(how: How, changes: list[Tensor], weights: list[float]) -> Tensor:
    """The change of a tensor that the aggregate does not see, from the clients' changes of it."""
    if how == "max":
        return torch.stack(changes).amax(0)
    if how == "sum":
        return torch.stack(changes).sum(0)
    total = sum(weights)
    if total <= 0:
        return torch.zeros_like(changes[0])
    work = torch.zeros_like(changes[0], dtype=torch.float64)
    for change, weight in zip(changes, weights, strict=True):
        work.add_(change, alpha=weight / total)
    return work.to(changes[0].dtype)
