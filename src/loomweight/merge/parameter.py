"""What a method may be told: the kind, range and reach of each of its parameters."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Literal

from .marks import Place, Scalar, as_number
from .settings import Condition, Setting, gradient

#: each: one value a set, the base left out. every: one value a set, the base too. shared: one value for the whole merge.
Reach = Literal["shared", "each", "every"]
#: A checked value; None stands for a parameter without default that nobody set, a tuple for a list of words.
Number = float | int | bool | str | tuple[str, ...] | None

REQUIRED: Any = object()


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method.

    Args:
        kind: "number", "whole", "flag" (true or false), "word", or "words": a list that is no gradient.
        low, high: the range of a number, both included.
        default: what holds where nobody sets it; `REQUIRED` makes leaving it out an error.
        idle: why it has no effect, where it is accepted all the same.
    """

    name: str
    kind: Literal["number", "whole", "flag", "word", "words"] = "number"
    reach: Reach = "shared"
    default: Any = REQUIRED
    low: float = -inf
    high: float = inf
    words: tuple[str, ...] = field(default=())
    idle: str = ""

    def typed(self, setting: Setting) -> Setting:
        """The setting with every value converted and checked.

        Raises:
            RecipeError: a value of another kind or out of range; the message gives line, key, value and range.
        """
        return replace(setting, conditions=tuple(self._typed(condition) for condition in setting.conditions))

    def value(self, condition: Condition, t: float) -> Number:
        """What a checked condition says at depth t."""
        if self.kind == "words":
            return condition.scalars  # type: ignore[return-value]
        if not isinstance(condition.value, tuple):
            return condition.value
        found = gradient(condition.value, t)
        return self._convert(found, condition.place) if self.kind == "whole" else found

    def _typed(self, condition: Condition) -> Condition:
        converted = tuple(self._convert(scalar, condition.place) for scalar in condition.scalars)
        return replace(condition, value=converted if isinstance(condition.value, tuple) else converted[0])

    def _convert(self, value: Scalar, place: Place) -> Number:
        number = _CONVERT[self.kind](value)
        if number is None:
            place.refuse(f"{self.name} must be {_KINDS[self.kind]}, found {value!r}.")
        if self.kind in ("number", "whole") and not self.low <= number <= self.high:
            place.refuse(f"{self.name} must lie in {self.range}, found {value!r}.")
        if self.words and number not in self.words:
            place.refuse(f"{self.name} must be one of {', '.join(self.words)}, found {value!r}.")
        return number

    @property
    def range(self) -> str:
        """The range in words.

        >>> Parameter("density", low=0, high=1).range, Parameter("max_iter", low=1).range
        ('[0, 1]', '[1, infinity)')
        """
        left = "(-infinity" if self.low == -inf else f"[{self.low:g}"
        right = "infinity)" if self.high == inf else f"{self.high:g}]"
        return f"{left}, {right}"


def _whole(value: Scalar) -> int | None:
    number = as_number(value)
    return int(number) if number is not None and number == int(number) else None


def _flag(value: Scalar) -> bool | None:
    return {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}.get(str(value).lower())


def _word(value: Scalar) -> str | None:
    return value if isinstance(value, str) else None


_CONVERT: dict[str, Callable[[Scalar], Any]] = {"number": as_number, "whole": _whole, "flag": _flag, "word": _word, "words": _word}
_KINDS = {"number": "a finite number", "whole": "a whole number", "flag": "true or false", "word": "a word", "words": "a list of words"}
