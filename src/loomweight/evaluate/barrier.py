"""The loss along the straight line between two weight sets.

Papers: Linear Mode Connectivity and the Lottery Ticket Hypothesis (2019, https://arxiv.org/abs/1912.05671) measures the rise
above the mean of the ends; The Role of Permutation Invariance in Linear Mode Connectivity of Neural Networks (2021,
https://arxiv.org/abs/2110.06296), definition 2.2, above the line between them, which is fair to ends of different loss: this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch

from ..errors import BadParameter, IntegersDiffer, NonFinite
from ..weights import Block, Spec, Weights
from ..weights.algebra import agree, working


@dataclass(frozen=True)
class Barrier:
    """What was found along the line.

    Args:
        positions: t of every point, from 0 (the first set) to 1 (the second).
        losses: the loss there.
    """

    positions: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def rises(self) -> tuple[float, ...]:
        """How far every point lies above the chord (1 - t) L(0) + t L(1)."""
        first, last = self.losses[0], self.losses[-1]
        return tuple(loss - ((1 - t) * first + t * last) for t, loss in zip(self.positions, self.losses, strict=True))

    @property
    def height(self) -> float:
        """The highest rise; 0, at an end, where the two sets are linearly connected."""
        return max(0.0, *self.rises)

    @property
    def at(self) -> float:
        """Where the highest rise is, the first of equals."""
        return self.positions[self.rises.index(max(self.rises))]


def barrier(loss: Callable[[Weights], float], a: Weights, b: Weights, steps: int = 11) -> Barrier:
    """Loss at evenly spaced points from `a` to `b`, and its height above the chord,

        max_t  L((1 - t) a + t b) - [(1 - t) L(a) + t L(b)].

    Batch normalization keeps statistics that an average of weights does not have: a `loss` of such a model should renew them.

    Args:
        loss: of a weight set; it is called `steps` times.
        a, b: agree in names, shapes and ties; their integer tensors are equal.
        steps: points, the ends counted.

    Raises:
        BadParameter: fewer than 3 points.
        NamesDiffer, ShapesDiffer, TiesDiffer, IntegersDiffer: the sets do not agree.
        NonFinite: a loss is NaN or Inf; the message says where.

    >>> a, b = Weights.of({"w": torch.tensor([-1.0])}), Weights.of({"w": torch.tensor([1.0])})
    >>> found = barrier(lambda w: 1 - float(w["w"]) ** 2, a, b, steps=5)
    >>> found.height, found.at
    (1.0, 0.5)
    """
    if steps < 3:
        raise BadParameter(f"a barrier needs at least 3 points, the two ends and one between, found steps = {steps}.")
    positions = tuple(i / (steps - 1) for i in range(steps))
    losses = tuple(float(loss(between(a, b, t))) for t in positions)
    for t, value in zip(positions, losses, strict=True):
        if not isfinite(value):
            raise NonFinite(f"the loss is {value} at t = {t:g} between {a.label or 'the first set'} and {b.label or 'the second set'}.")
    return Barrier(positions, losses)


def between(a: Weights, b: Weights, t: float) -> Weights:
    """(1 - t) a + t b, exactly a at 0 and b at 1, in the promoted dtype of both; integer tensors must be equal and are kept.

    Part of: barrier.

    >>> between(Weights.of({"w": torch.zeros(2)}), Weights.of({"w": torch.ones(2)}), 0.25)["w"]
    tensor([0.2500, 0.2500])
    """
    agree(a, b)
    spec = {name: Spec(s.shape, torch.promote_types(s.dtype, b.spec[name].dtype)) for name, s in a.spec.items()}
    for name in a.physical:
        if not spec[name].averages and not torch.equal(a[name], b[name]):
            raise IntegersDiffer(f"integer tensor {name!r} differs between the two ends; integers have nothing between them: make them equal.")

    def open_(name: str) -> Block:
        left, right = working(a, name), working(b, name)
        if not spec[name].averages:
            return left
        return lambda lo, hi: torch.lerp(left(lo, hi).to(spec[name].work), right(lo, hi).to(spec[name].work), t)

    return Weights(spec, open_, ties=a.ties, origin=("between", a, b, t), label=f"{a.label} to {b.label} at {t:g}")
