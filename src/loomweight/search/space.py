"""What a search may choose: numbers and options, by name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from types import MappingProxyType
from typing import Any

from ..errors import BadParameter, unknown

#: One choice of everything: name -> number or option.
Values = dict[str, Any]


class Dimension(ABC):
    """One thing to choose. A frozen dataclass, checked when made."""

    @abstractmethod
    def holds(self, value: object) -> bool:
        """True where the value lies in this dimension."""

    @abstractmethod
    def suggest(self, trial: Any, name: str) -> Any:
        """Let an Optuna trial choose."""

    def encode(self, value: Any) -> Any:
        """A value as Optuna knows it: a number."""
        return value

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


@dataclass(frozen=True)
class Choice(Dimension):
    """One of a few options without an order: words, numbers, True and False, None.

    >>> Choice(("ties", "linear")).holds("ties")
    True
    """

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options or len({_typed(option) for option in self.options}) != len(self.options):
            raise BadParameter(f"{self} needs at least one option, and no option twice.")
        if bad := [option for option in self.options if not isinstance(option, str | int | float | bool | None)]:
            raise BadParameter(f"{self}: options are words, numbers, True, False or None; found {bad[0]!r}, give its name instead.")

    @property
    def ordered(self) -> bool:
        """False."""
        return False

    def holds(self, value: object) -> bool:
        """True for one of the options; 1, 1.0 and True are three different ones."""
        return any(_typed(option) == _typed(value) for option in self.options)

    def suggest(self, trial: Any, name: str) -> Any:
        """An option, by its position: Optuna would take 1 and True for the same one."""
        return self.options[trial.suggest_categorical(name, range(len(self.options)))]

    def encode(self, value: Any) -> int:
        """Position of the option."""
        return [_typed(option) for option in self.options].index(_typed(value))


@dataclass(frozen=True)
class Space:
    """Named dimensions, in a fixed order.

    Raises:
        BadParameter: there is nothing to choose.

    >>> Space({"weight": Float(0, 1), "method": Choice(("ties", "linear"))}).names
    ('weight', 'method')
    """

    dimensions: Mapping[str, Dimension]

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", MappingProxyType(dict(self.dimensions)))
        if not self.dimensions:
            raise BadParameter("a search space needs at least one dimension.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return tuple(self.dimensions)

    def check(self, values: Mapping[str, Any]) -> Values:
        """The values in the order of the space; raise unless there is one for each name, and each is in its range."""
        for name in values:
            if name not in self.dimensions:
                raise unknown("dimension", name, self.dimensions)
        for name, dimension in self.dimensions.items():
            if name not in values:
                raise BadParameter(f"there is no value for {name!r}; the space has {', '.join(self.names)}.")
            if not dimension.holds(values[name]):
                raise BadParameter(f"{name} = {values[name]!r} is not in {dimension}.")
        return {name: values[name] for name in self.dimensions}

    def described(self) -> dict[str, Any]:
        """The space as plain data that JSON can hold."""
        return {name: {"kind": type(d).__name__, **asdict(d)} for name, d in self.dimensions.items()}  # type: ignore[call-overload]


def _typed(value: object) -> tuple[type, object]:
    return type(value), value


def _check_range(dimension: Dimension, low: float, high: float, log: bool) -> None:
    if not (isfinite(low) and isfinite(high) and low <= high):
        raise BadParameter(f"{dimension} needs finite ends, the lower one first.")
    if log and low <= 0:
        raise BadParameter(f"{dimension} needs a lower end above 0 for a logarithmic scale.")
