"""Spherical linear interpolation of two sets.

Paper: Animating Rotation with Quaternion Curves (1985, https://doi.org/10.1145/325165.325242), section 3.3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float64
from .per import Per
from .rule import Rule, Weighing

_PARALLEL = 1e-8  # radians
_OPPOSITE = 1e-2


@dataclass(frozen=True)
class Slerp(Weighing):
    """From one set to another along the arc between their directions.

    sin((1 - t) theta) / sin(theta) w_0 + sin(t theta) / sin(theta) w_1, with theta the angle between w_0 and w_1. The
    factors apply to the sets as they are, not to their directions, so equal lengths are kept and unequal ones blended.
    Directions that are the same, or a set of length 0, give the straight line, which is the formula's limit; so do
    directions within 0.01 rad of opposite, between which no great circle is the shortest. Breakdown point 0.

    Args:
        t: 0 gives w_0, 1 gives w_1.
        straight: the straight line also where |cos(theta)| exceeds this. mergekit's slerp uses 0.9995, which most fine-tunes of
            one model exceed; its nuslerp uses 1.

    Raises:
        BadParameter: t or straight outside [0, 1], or other than two sets.

    >>> from loomweight.rules import combine
    >>> combine([{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}], Slerp(t=0.5))["w"]
    tensor([0.7071, 0.7071])
    """

    t: float
    straight: float = 1.0

    fewest = 2

    def __post_init__(self) -> None:
        if not (0 <= self.t <= 1 and 0 <= self.straight <= 1):
            raise BadParameter(f"{self}: t and straight must lie in [0, 1].")

    def check(self, n: int) -> None:
        """Raise for other than two sets."""
        super().check(n)
        if n > 2:
            raise BadParameter(f"{self} interpolates between two sets, got {n}; multislerp and karcher take more.")

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """The factors of both sets."""
        return self.coefficients_of_each(gram[None])[0]

    def coefficients_of_each(self, grams: Float64[Tensor, "k n n"]) -> Float64[Tensor, "k n"]:
        """The factors of both sets, for many Gram matrices at once."""
        first, across, second = grams[:, 0, 0], grams[:, 0, 1], grams[:, 1, 1]
        between = first + second - 2 * across
        sine = (first * between - (across - first).square()).clamp(min=0).sqrt()  # times both lengths, as is `across`
        theta = torch.atan2(sine, across)
        line = (first <= 0) | (second <= 0) | (theta < _PARALLEL) | (torch.pi - theta < _OPPOSITE)
        if self.straight < 1:
            line |= across.abs() > self.straight * (first * second).clamp(min=0).sqrt()
        theta = torch.where(line, 1.0, theta)
        factors = [torch.where(line, part, torch.sin(part * theta) / torch.sin(theta)) for part in (1 - self.t, self.t)]
        return torch.stack(factors, dim=1)


def slerp(t: float, straight: float = 1.0) -> Rule:
    """Slerp of every tensor alone, between two sets. mergekit's `slerp` is straight=0.9995, its base being the first set.

    Args:
        t: 0 gives the first set, 1 the second.
        straight: see `Slerp`.

    >>> slerp(0.5)
    Per(by='tensor', rule=Slerp(t=0.5, straight=1.0))
    """
    return Per("tensor", Slerp(t, straight))
