"""One thing that a search may choose: a number or one of a few options."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import Any

import numpy as np

from ..errors import BadParameter


class Dimension(ABC):
    """One thing to choose. A frozen dataclass, checked when made."""

    @abstractmethod
    def holds(self, value: object) -> bool:
        """True where the value lies in this dimension."""

    @abstractmethod
    def suggest(self, trial: Any, name: str) -> Any:
        """Let an Optuna trial choose."""

    @abstractmethod
    def sample(self, draw: np.random.Generator) -> Any:
        """A value, each as likely as the others."""

    @abstractmethod
    def options_left(self, value: Any) -> int | None:
        """How many values there are beside this one; None for numbers without gaps."""

    @abstractmethod
    def every(self) -> Iterator[Any]:
        """All values, in order.

        Raises:
            BadParameter: they have no gaps between them.
        """

    @abstractmethod
    def scaled(self, value: Any) -> tuple[float, ...]:
        """The value as numbers from 0 to 1: one where there is an order, one an option where there is none."""

    @property
    @abstractmethod
    def last(self) -> Any:
        """The largest value, or the last option: what stands where the field does not matter."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """The values in words, for messages."""

    def encode(self, value: Any) -> Any:
        """A value as Optuna knows it: a number."""
        return value

    def another(self, value: Any, draw: np.random.Generator) -> Any:
        """A value that differs from this one, each as likely as the others; there must be one."""
        while (found := self.sample(draw)) == value and type(found) is type(value):
            pass
        return found

    @property
    def ordered(self) -> bool:
        """True for numbers, along which a sampler can move."""
        return True


@dataclass(frozen=True)
class Float(Dimension):
    """A number from `low` to `high`, both included; `log` spreads trials evenly over orders of magnitude.

    >>> Float(0, 1).holds(0.5), Float(0, 1).holds(1.5)
    (True, False)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self, self.low, self.high, self.log)

    def holds(self, value: object) -> bool:
        """True for a number in the range."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def suggest(self, trial: Any, name: str) -> float:
        """A float."""
        return trial.suggest_float(name, float(self.low), float(self.high), log=self.log)

    def encode(self, value: Any) -> float:
        """The number as a float."""
        return float(value)

    def sample(self, draw: np.random.Generator) -> float:
        """Uniform; with `log` its logarithm is."""
        if not self.log:
            return float(draw.uniform(self.low, self.high))
        return min(max(exp(draw.uniform(log(self.low), log(self.high))), self.low), self.high)

    def options_left(self, value: Any) -> int | None:
        """None, or 0 where both ends are one number."""
        return 0 if self.low == self.high else None

    def every(self) -> Iterator[float]:
        """The one number there is, if both ends are the same."""
        if self.low != self.high:
            raise BadParameter(f"{self} has no gaps between its values, so they cannot be listed; use Int, Choice or Ordered for that.")
        return iter((self.low,))

    def scaled(self, value: Any) -> tuple[float, ...]:
        """Where it lies between the ends."""
        return (_between(self.low, value, self.high, self.log),)

    @property
    def last(self) -> float:
        """The upper end."""
        return self.high

    @property
    def allowed(self) -> str:
        """From one end to the other."""
        return f"{self.low} to {self.high}"


@dataclass(frozen=True)
class Int(Dimension):
    """A whole number from `low` to `high`, both included.

    >>> Int(1, 3).holds(3), Int(1, 3).holds(2.5)
    (True, False)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self, self.low, self.high, self.log)
        if self.low != int(self.low) or self.high != int(self.high):
            raise BadParameter(f"{self} needs whole numbers as its ends; use Float for others.")

    def holds(self, value: object) -> bool:
        """True for a whole number in the range."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def suggest(self, trial: Any, name: str) -> int:
        """A whole number."""
        return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)

    def sample(self, draw: np.random.Generator) -> int:
        """Uniform; with `log` about so over orders of magnitude."""
        if not self.log:
            return int(draw.integers(int(self.low), int(self.high) + 1))
        drawn = round(exp(draw.uniform(log(self.low - 0.5), log(self.high + 0.5))))
        return min(max(drawn, int(self.low)), int(self.high))

    def options_left(self, value: Any) -> int:
        """How many other whole numbers there are."""
        return int(self.high) - int(self.low)

    def every(self) -> Iterator[int]:
        """From the lower end up."""
        return iter(range(int(self.low), int(self.high) + 1))

    def scaled(self, value: Any) -> tuple[float, ...]:
        """Where it lies between the ends."""
        return (_between(self.low, value, self.high, self.log),)

    @property
    def last(self) -> int:
        """The upper end."""
        return int(self.high)

    @property
    def allowed(self) -> str:
        """From one end to the other."""
        return f"whole numbers from {int(self.low)} to {int(self.high)}"


def _between(low: float, value: float, high: float, logarithmic: bool) -> float:
    if low == high:
        return 0.0
    if logarithmic:
        low, value, high = log(low), log(value), log(high)
    return (value - low) / (high - low)


def _check_range(dimension: Dimension, low: float, high: float, log: bool) -> None:
    if not (isfinite(low) and isfinite(high) and low <= high):
        raise BadParameter(f"{dimension} needs finite ends, the lower one first.")
    if log and low <= 0:
        raise BadParameter(f"{dimension} needs a lower end above 0 for a logarithmic scale.")
