"""One of a few options, with an order or without."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np

from ..errors import BadParameter
from .dimension import Dimension


def typed(value: object) -> tuple[type, object]:
    """A value that is told apart from others that compare equal: 1, 1.0 and True are three.

    >>> typed(1) == typed(True)
    False
    """
    return type(value), value


@dataclass(frozen=True)
class Choice(Dimension):
    """One of a few options without an order: words, numbers, True and False, None.

    >>> Choice(("ties", "linear")).holds("ties")
    True
    """

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options or len({typed(option) for option in self.options}) != len(self.options):
            raise BadParameter(f"{self} needs at least one option, and no option twice.")
        if bad := [option for option in self.options if not isinstance(option, str | int | float | bool | None)]:
            raise BadParameter(f"{self}: options are words, numbers, True, False or None; found {bad[0]!r}, give its name instead.")

    @property
    def ordered(self) -> bool:
        """False."""
        return False

    def holds(self, value: object) -> bool:
        """True for one of the options; 1, 1.0 and True are three different ones."""
        return any(type(option) is type(value) and option == value for option in self.options)

    def suggest(self, trial: Any, name: str) -> Any:
        """An option, by its position: Optuna would take 1 and True for the same one."""
        return self.options[trial.suggest_categorical(name, range(len(self.options)))]

    def encode(self, value: Any) -> int:
        """Position of the option."""
        return [typed(option) for option in self.options].index(typed(value))

    def sample(self, draw: np.random.Generator) -> Any:
        """An option."""
        return self.options[int(draw.integers(len(self.options)))]

    def options_left(self, value: Any) -> int:
        """How many other options there are."""
        return len(self.options) - 1

    def every(self) -> Iterator[Any]:
        """The options."""
        return iter(self.options)

    def scaled(self, value: Any) -> tuple[float, ...]:
        """One-hot: 1 in the place of the option, 0 in those of the others."""
        at = self.encode(value)
        return tuple(float(i == at) for i in range(len(self.options)))

    @property
    def last(self) -> Any:
        """The last option."""
        return self.options[-1]

    @property
    def allowed(self) -> str:
        """The options, as they are written."""
        return ", ".join(map(repr, self.options))


@dataclass(frozen=True)
class Ordered(Choice):
    """One of a few numbers, the smaller first: widths, depths, kernel sizes. Samplers may move along them.

    >>> Ordered((16, 32, 64)).scaled(32)
    (0.3333333333333333,)
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = [option for option in self.options if isinstance(option, int | float) and not isinstance(option, bool) and isfinite(option)]
        if len(numbers) < len(self.options) or any(a >= b for a, b in pairwise(numbers)):
            raise BadParameter(f"{self} needs numbers, the smaller first; use Choice for options without an order.")

    @property
    def ordered(self) -> bool:
        """True."""
        return True

    def suggest(self, trial: Any, name: str) -> Any:
        """An option, by its position, which is a whole number to Optuna."""
        return self.options[trial.suggest_int(name, 0, len(self.options) - 1)]

    def scaled(self, value: Any) -> tuple[float, ...]:
        """Where the number lies between the smallest and the largest."""
        low, high = self.options[0], self.options[-1]
        return ((value - low) / (high - low) if high > low else 0.0,)
