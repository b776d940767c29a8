"""The loss in the plane through three weight sets.

Papers: Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs (2018, https://arxiv.org/abs/1802.10026), section 1 and figure 1;
Averaging Weights Leads to Wider Optima and Better Generalization (2018, https://arxiv.org/abs/1803.05407) draws its figures on the
same axes. Original code: https://github.com/timgaripov/dnn-mode-connectivity (plane.py). We differ: the map covers the box around all
three sets, where the code's box leaves out a third set that lies beyond the first two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, sqrt
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BadParameter, NonFinite
from ..weights import Block, Spec, Weights, floating
from ..weights.algebra import working
from ..weights.gram import dot, gram
from .barrier import between

Point = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """Coordinates in the plane through three weight sets: a at the origin, b on the first axis,

        u = (b - a) / |b - a|,    v = (c - a) - <c - a, u> u, divided by its norm,    w(x, y) = a + x u + y v.

    Args:
        a, b, c: agree in names, shapes and ties; their integer tensors are equal. They do not lie on one line.

    Raises:
        NamesDiffer, ShapesDiffer, TiesDiffer, IntegersDiffer: the sets do not agree.
        BadParameter: the sets lie on one line.

    >>> a, b, c = (Weights.of({"w": torch.tensor(numbers)}) for numbers in ([0.0, 0.0], [2.0, 0.0], [1.0, 3.0]))
    >>> frame = Frame(a, b, c)
    >>> frame.corners
    ((0.0, 0.0), (2.0, 0.0), (1.0, 3.0))
    >>> frame.weights(0.5, -1.0)["w"]
    tensor([ 0.5000, -1.0000])
    """

    a: Weights
    b: Weights
    c: Weights

    def __post_init__(self) -> None:
        for other in (self.b, self.c):
            between(self.a, other, 0.5)
        _ = self.corners

    @cached_property
    def corners(self) -> tuple[Point, Point, Point]:
        """Where the three sets are."""
        inner = gram([floating(self.b) - floating(self.a), floating(self.c) - floating(self.a)])
        first, cross, second = float(inner[0, 0]), float(inner[0, 1]), float(inner[1, 1])
        height = second - cross**2 / first if first else 0.0
        if height <= 1e-12 * second:
            raise BadParameter("the three weight sets lie on one line, so they span no plane; use the barrier between two of them.")
        return (0.0, 0.0), (sqrt(first), 0.0), (cross / sqrt(first), sqrt(height))

    def weights(self, x: float, y: float) -> Weights:
        """The weight set at a point, lazily; exactly a, b and c at the corners."""
        (_, _), (width, _), (shift, height) = self.corners
        third = y / height
        second = (x - third * shift) / width
        return _mixed((self.a, self.b, self.c), (1 - second - third, second, third))

    def project(self, weights: Weights) -> Point:
        """The point of the plane that is nearest to a weight set, such as an average."""
        (_, _), (width, _), (shift, height) = self.corners
        a = floating(self.a)
        away = floating(weights) - a
        x = dot(away, floating(self.b) - a) / width
        return x, (dot(away, floating(self.c) - a) - x * shift) / height


@dataclass(frozen=True)
class Plane:
    """Losses on a grid.

    Args:
        xs, ys: the grid's coordinates, distances in weight space.
        losses: for every y the losses along x; NaN and Inf are kept as they are.
        corners: where the three sets are.
        ends: their losses.
        labels: their names.
    """

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    corners: tuple[Point, Point, Point]
    ends: tuple[float, float, float]
    labels: tuple[str, str, str]

    @property
    def lowest(self) -> tuple[float, Point]:
        """The least finite loss on the grid, and where."""
        found = [(loss, (x, y)) for y, row in zip(self.ys, self.losses, strict=True) for x, loss in zip(self.xs, row, strict=True) if isfinite(loss)]
        return min(found)

    def draw(self, path: str | Path) -> Path:
        """A map with contour lines, the three sets marked (png, svg or pdf).

        Raises:
            MissingExtra: matplotlib is not installed.
            OutputError: the file cannot be written.
        """
        from .picture import draw_plane

        return draw_plane(self, Path(path))


def plane(loss: Callable[[Weights], float], a: Weights, b: Weights, c: Weights, *, steps: int = 21, margin: float = 0.2) -> Plane:
    """The loss on a grid over the plane of three weight sets; each point's weights are built when its loss is taken.

    Args:
        loss: of a weight set; called steps * steps + 3 times. For a model with batch normalization it should renew the statistics.
        a, b, c: see `Frame`.
        steps: points along each axis.
        margin: how far the grid reaches beyond the box around the three sets, as a part of its sides.

    Raises:
        BadParameter: the sets lie on one line; fewer than 2 points; a negative margin.
        NonFinite: the loss of one of the three sets is NaN or Inf.
        NamesDiffer, ShapesDiffer, TiesDiffer, IntegersDiffer: the sets do not agree.

    >>> a, b, c = (Weights.of({"w": torch.tensor(numbers)}) for numbers in ([0.0, 0.0], [2.0, 0.0], [0.0, 2.0]))
    >>> plane(lambda w: float(w["w"].sum()), a, b, c, steps=3, margin=0).losses
    ((0.0, 1.0, 2.0), (1.0, 2.0, 3.0), (2.0, 3.0, 4.0))
    """
    if steps < 2 or not 0 <= margin < float("inf"):
        raise BadParameter(f"a map needs at least 2 points along each axis and a margin of 0 or more, found steps = {steps}, margin = {margin}.")
    frame = Frame(a, b, c)
    labels = tuple(weights.label or word for weights, word in zip((a, b, c), "abc", strict=True))
    ends = tuple(float(loss(weights)) for weights in (a, b, c))
    for label, value in zip(labels, ends, strict=True):
        if not isfinite(value):
            raise NonFinite(f"the loss of {label} is {value}; a map around it says nothing.")
    xs, ys = (_spread([corner[axis] for corner in frame.corners], steps, margin) for axis in (0, 1))
    losses = tuple(tuple(float(loss(frame.weights(x, y))) for x in xs) for y in ys)
    return Plane(xs, ys, losses, frame.corners, ends, labels)  # type: ignore[arg-type]


def _spread(at: list[float], steps: int, margin: float) -> tuple[float, ...]:
    low, high = min(at), max(at)
    low, high = low - margin * (high - low), high + margin * (high - low)
    return tuple(low + (high - low) * i / (steps - 1) for i in range(steps))


def _mixed(sets: tuple[Weights, Weights, Weights], shares: tuple[float, float, float]) -> Weights:
    """The sum of shares times sets, in their promoted dtype; integer tensors are the first's."""
    first = sets[0]
    spec = {name: Spec(s.shape, _promoted([weights.spec[name].dtype for weights in sets])) for name, s in first.spec.items()}
    used = [(share, weights) for share, weights in zip(shares, sets, strict=True) if share]

    def open_(name: str) -> Block:
        if not spec[name].averages:
            return working(first, name)
        reads = [(share, working(weights, name)) for share, weights in used]

        def block(lo: int, hi: int) -> Tensor:
            return torch.stack([share * read(lo, hi).to(spec[name].work) for share, read in reads]).sum(0)

        return block

    return Weights(spec, open_, ties=first.ties, origin=("plane", *sets, *shares), label=" + ".join(f"{share:.3g} {weights.label}" for share, weights in used))


def _promoted(dtypes: list[torch.dtype]) -> torch.dtype:
    return torch.promote_types(torch.promote_types(dtypes[0], dtypes[1]), dtypes[2])
