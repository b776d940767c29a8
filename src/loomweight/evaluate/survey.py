"""What a weight set holds, tensor by tensor, from one pass over its data."""

from dataclasses import dataclass
from math import sqrt

import torch

from ..engines import current
from ..weights import Weights
from ..weights.algebra import working
from ..weights.spec import comparable, spans


@dataclass(frozen=True)
class Facts:
    """One tensor. `norm`, `low` and `high` are over its finite entries; all are 0 for an empty tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    shared_with: str | None
    nan: int
    inf: int
    zeros: int
    norm: float
    low: float
    high: float


def survey(weights: Weights) -> list[Facts]:
    """Facts of every tensor in the set's order: one pass over each physical tensor, sums in float64.

    >>> survey(Weights.of({"w": torch.tensor([3.0, -4.0, 0.0, float("nan")])}))[0].norm
    5.0
    """
    measured = dict(zip(weights.physical, current().map(lambda name: _measure(weights, name), weights.physical), strict=True))
    return [_facts(weights, name, measured[weights.ties.get(name, name)]) for name in weights.names]


def _measure(weights: Weights, name: str) -> tuple[int, int, int, float, float, float]:
    read = working(weights, name)
    nan = inf = zeros = 0
    square, low, high = 0.0, float("inf"), float("-inf")
    for lo, hi in spans(weights.spec[name].numel):
        entries = comparable(read(lo, hi))
        entries = entries if entries.is_floating_point() else entries.double()
        zeros += hi - lo - int(torch.count_nonzero(entries))
        if not torch.isfinite(entries.sum()):
            nan += int(torch.isnan(entries).sum())
            inf += int(torch.isinf(entries).sum())
            entries = entries[torch.isfinite(entries)]
        if entries.numel():
            wide = entries.double()
            square += float(wide @ wide)
            least, most = torch.aminmax(entries)
            low, high = min(low, float(least)), max(high, float(most))
    return (nan, inf, zeros, sqrt(square), low, high) if low <= high else (nan, inf, zeros, 0.0, 0.0, 0.0)


def _facts(weights: Weights, name: str, measured: tuple[int, int, int, float, float, float]) -> Facts:
    spec = weights.spec[name]
    return Facts(name, spec.shape, str(spec.dtype).removeprefix("torch."), spec.nbytes, weights.ties.get(name), *measured)
