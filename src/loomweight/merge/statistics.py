"""What a merge did, layer by layer, from one pass over inputs and output."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite, sqrt

import torch
from torch import Tensor

from ..engines import current
from ..shapes import Float64
from ..weights import Weights, layer_of
from ..weights.algebra import working
from ..weights.gram import products
from ..weights.spec import spans
from .plan import Group, Plan

# M = the models and, last, the output: all as differences from the base, or from the models' mean where there is no base


@dataclass(frozen=True)
class Layer:
    """One layer of a merge.

    Args:
        distances: |model - base| / |base| of each model, and last of the output.
        cosines: between the differences of each model and, last, the output: (M, M).
        conflicts: part of the entries where two models' differences point in opposite directions.
        shares: least-squares coefficients of the output's difference on the models': how much each moved the output.
    """

    name: str
    entries: int
    distances: tuple[float, ...]
    cosines: tuple[tuple[float, ...], ...]
    conflicts: float
    shares: tuple[float, ...]


@dataclass(frozen=True)
class _Sums:
    gram: Float64[Tensor, "m m"]
    base: float
    conflicts: int
    entries: int

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(self.gram + other.gram, self.base + other.base, self.conflicts + other.conflicts, self.entries + other.entries)


def layers(plan: Plan, output: Weights) -> dict[tuple[str, ...], list[Layer]]:
    """Models of a group -> its layers in the order of the result: every input and the output are read once.

    Groups of the same models are told together; integer tensors are left out, and entries at which an input holds NaN or Inf.
    """
    found: dict[tuple[str, ...], dict[str, _Sums]] = {}
    for group in plan.groups:
        names = [name for name in group.names if plan.headers[name].averages]
        sums = current().map(_Reader(plan, group, output), names)
        for name, part in zip(names, sums, strict=True):
            table = found.setdefault(group.models, {})
            layer = layer_of(name)
            table[layer] = table[layer] + part if layer in table else part
    return {models: [_layer(name, table[name]) for name in _in_order(plan.names, table)] for models, table in found.items()}


def _in_order(names: Iterable[str], table: dict[str, _Sums]) -> list[str]:
    return list(dict.fromkeys(layer for layer in map(layer_of, names) if layer in table))


class _Reader:
    """Sums of one tensor; called on any thread."""

    def __init__(self, plan: Plan, group: Group, output: Weights) -> None:
        self.members = group.sets(plan.inputs)
        self.base = group.origin(plan.inputs)
        self.output = output

    def __call__(self, name: str) -> _Sums:
        spec = self.output.spec[name]
        reads = [working(weights, name) for weights in (*self.members, self.output)]
        base = working(self.base, name) if self.base else None
        n = len(self.members)
        total = _Sums(torch.zeros(n + 1, n + 1, dtype=torch.float64), 0.0, 0, 0)
        for lo, hi in spans(spec.numel):
            rows = torch.stack([read(lo, hi).float() for read in (*reads, *([base] if base else []))])
            rows = rows if isfinite(rows.sum().item()) else rows[:, rows.isfinite().all(0)]
            origin = rows[-1] if base else rows[:n].mean(0)
            rows = rows[: n + 1] - origin
            opposed = (rows[:n].amax(0) > 0) & (rows[:n].amin(0) < 0)
            total += _Sums(products(rows), float(products(origin[None])), int(opposed.sum()), rows.shape[1])
        return total


def _layer(name: str, sums: _Sums) -> Layer:
    norms = [sqrt(max(float(x), 0.0)) for x in sums.gram.diagonal()]
    base = sqrt(sums.base)
    scale = torch.tensor([1 / norm if norm else 0.0 for norm in norms], dtype=torch.float64)
    cosines = sums.gram * scale[:, None] * scale[None, :]
    n = len(norms) - 1
    shares = torch.linalg.lstsq(sums.gram[:n, :n], sums.gram[:n, n:], driver="gelsd").solution.flatten()
    distances = tuple(norm / base if base else 0.0 for norm in norms)
    return Layer(name, sums.entries, distances, tuple(map(tuple, cosines.tolist())), sums.conflicts / max(1, sums.entries), tuple(shares.tolist()))
