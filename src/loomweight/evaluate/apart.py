"""How far apart two networks are, as a whole and layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan, sqrt

import torch

from ..weights import Weights
from ..weights.algebra import floating, keep
from ..weights.gram import gram
from ..weights.names import layer_of


@dataclass(frozen=True)
class Apart:
    """|a - b|, its ratio to |b|, and the cosine of the angle between a and b; nan where a norm is 0."""

    distance: float
    relative: float
    cosine: float


def apart(first: Weights, second: Weights) -> Mapping[str, Apart]:
    """Distance and angle of two sets of one family: of each layer, and under "" of the whole.

    Integer tensors and those that only one set has do not count.

    Raises:
        ShapesDiffer: a tensor has different shapes.
        NonFinite: an entry is NaN or Inf.

    >>> a, b = Weights.of({"h.0.w": torch.tensor([3.0, 4.0])}), Weights.of({"h.0.w": torch.tensor([0.0, 5.0])})
    >>> round(apart(a, b)["h.0"].cosine, 6), round(apart(a, b)[""].relative, 6)
    (0.8, 0.632456)
    """
    ours, theirs = floating(first), floating(second)
    layers: dict[str, list[str]] = {}
    for name in ours.physical:
        if name in theirs:
            layers.setdefault(layer_of(name), []).append(name)
    found, total = {}, torch.zeros(2, 2, dtype=torch.float64)
    for layer, names in layers.items():
        a, b = (keep(weights, names) for weights in (ours, theirs))
        inner = gram([b, a - b])
        total += inner
        found[layer] = _apart(inner)
    return {"": _apart(total), **found}


def _apart(inner: torch.Tensor) -> Apart:
    """From |b|^2, |a - b|^2 and <b, a - b>."""
    second, between, cross = float(inner[0, 0]), max(float(inner[1, 1]), 0.0), float(inner[0, 1])
    first = max(second + 2 * cross + between, 0.0)
    cosine = (second + cross) / sqrt(first * second) if first and second else nan
    return Apart(sqrt(between), sqrt(between / second) if second else nan, cosine)
