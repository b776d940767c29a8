"""A weighted mean of points of one run, each read once."""

from collections.abc import Sequence

import torch

from ..rules import Mean, combine
from ..weights import Weights, union
from ..weights.algebra import keep

_COUNTER = "num_batches_tracked"


def mixture(points: Sequence[Weights], weights: Sequence[float], dtype: torch.dtype | None = None) -> Weights:
    """sum_i c_i w_i, lazy, for coefficients that add up to 1. Points of coefficient 0 are not read.

    Counters of batch normalizations, which differ along a run, are the last point's; other integer tensors must be equal.

    Args:
        points: in the order of the run, with the same names and shapes.
        weights: c_i.
        dtype: of floating tensors; by default that of the points.

    Raises:
        TooFewSets: there is no point.
        NamesDiffer, ShapesDiffer, TiesDiffer, DtypesDiffer, IntegersDiffer: a point is not of the same model.

    >>> mixture([Weights.of({"w": torch.ones(1)}), Weights.of({"w": torch.zeros(1)})], [-0.5, 1.5])["w"]
    tensor([-0.5000])
    """
    rule = Mean(weights=tuple(weights), normalize=False)
    counters = [name for name in points[-1].names if name.rpartition(".")[2] == _COUNTER and not points[-1].spec[name].averages] if points else []
    if not counters:
        return combine(points, rule, dtype=dtype)
    rest = [keep(point, [name for name in point.names if name not in counters]) for point in points]
    return keep(union(combine(rest, rule, dtype=dtype), keep(points[-1], counters)), points[-1].names)
