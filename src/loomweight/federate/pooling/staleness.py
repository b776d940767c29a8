"""How much an update counts that was made from old weights.

Paper: Asynchronous Federated Optimization (2019, https://arxiv.org/abs/1903.03934), section 5.2, the functions s_a(t - tau); FedBuff takes the
polynomial with power 1/2.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ...errors import BadParameter


@runtime_checkable
class Staleness(Protocol):
    """A factor for an update whose weights are so many rounds old."""

    def __call__(self, behind: float) -> float:
        """1 where it is not behind."""
        ...


@dataclass(frozen=True)
class Polynomial:
    """s(t) = (1 + t)^-power; power 0 counts every update alike.

    Raises:
        BadParameter: a negative power.

    >>> Polynomial(0.5)(3)
    0.5
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        if not self.power >= 0:
            raise BadParameter(f"Polynomial: the power is at least 0, found {self.power}.")

    def __call__(self, behind: float) -> float:
        """(1 + behind)^-power."""
        return float((1 + behind) ** -self.power)


@dataclass(frozen=True)
class Hinge:
    """s(t) = 1 up to `free` rounds, 1 / (slope (t - free) + 1) beyond.

    Raises:
        BadParameter: a negative number.

    >>> Hinge(slope=1.0, free=2)(2), Hinge(slope=1.0, free=2)(3)
    (1.0, 0.5)
    """

    slope: float = 10.0
    free: float = 4.0

    def __post_init__(self) -> None:
        if not (self.slope >= 0 and self.free >= 0):
            raise BadParameter(f"Hinge: slope and free are at least 0, found {self.slope} and {self.free}.")

    def __call__(self, behind: float) -> float:
        """The factor."""
        return 1 / (self.slope * max(behind - self.free, 0.0) + 1)
