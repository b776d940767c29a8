"""What an architecture may cost: `{"params": "<= 1e6", "latency_ms": "<= 5"}`, read and looked up."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..errors import BadParameter, unknown

_HOLDS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
_LIMIT = re.compile(r"\s*(<=|>=|<|>)\s*([-+0-9._eE]+)\s*")


@dataclass(frozen=True)
class Limit:
    """A cost's name, one of <=, >=, < and >, and a number.

    >>> Limit("params", "<=", 1e6).holds(2e5), Limit("params", "<=", 1e6).excess(2e6)
    (True, 1.0)
    """

    name: str
    sign: str
    number: float

    def holds(self, cost: float) -> bool:
        """True where the cost keeps the limit."""
        return _HOLDS[self.sign](cost, self.number)

    def excess(self, cost: float) -> float:
        """0 where it holds, else how far the cost is beyond it, as a share of the limit, and always above 0."""
        return 0.0 if self.holds(cost) else max(abs(cost - self.number) / max(abs(self.number), 1e-12), 1e-12)

    @property
    def upper(self) -> bool:
        """True where less is safer."""
        return self.sign in ("<=", "<")

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.number:g}"


def limits(subject_to: Mapping[str, Any]) -> tuple[Limit, ...]:
    """The limits of a table: each entry a number (at most that), a text such as "<= 1e6", or several texts parted by commas.

    Raises:
        BadParameter: an entry is none of these; the message gives its name.

    >>> [str(limit) for limit in limits({"params": "<=1e6", "flops": ">= 1e5, < 1e7", "latency_ms": 5})]
    ['params <= 1e+06', 'flops >= 100000', 'flops < 1e+07', 'latency_ms <= 5']
    """
    return tuple(limit for name, entry in subject_to.items() for limit in _entry(name, entry))


def _entry(name: str, entry: Any) -> list[Limit]:
    number = isinstance(entry, int | float) and not isinstance(entry, bool)
    return [_limit(name, part) for part in ([f"<= {entry}"] if number else str(entry).split(","))]


def _limit(name: str, words: str) -> Limit:
    try:
        sign, number = _LIMIT.fullmatch(words).groups()  # type: ignore[union-attr]
        limit = Limit(name, sign, float(number))
    except (AttributeError, ValueError):
        limit = None
    if limit is None or not isfinite(limit.number):
        raise BadParameter(f"subject_to: {name!r} needs a limit such as '<= 1e6', '>= 100' or '>= 1e5, <= 1e6', found {words.strip()!r}.")
    return limit


def cost_of(cost: Any, name: str) -> float:
    """The number of that name among an object's attributes or a mapping's entries.

    Raises:
        UnknownName: there is none; the message gives the nearest.
        BadParameter: it is not a finite number.

    >>> cost_of({"params": 10, "flops": 99}, "params")
    10.0
    """
    has_cost(cost, name)
    found = cost[name] if isinstance(cost, Mapping) else getattr(cost, name)
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = float("nan")
    if not isfinite(value):
        raise BadParameter(f"the cost {name!r} is {found!r}, not a finite number.")
    return value


def has_cost(cost: Any, name: str) -> None:
    """Raise `UnknownName` where there is no cost of that name; nothing is measured for it."""
    names = _names(cost)
    if name not in names:
        raise unknown("cost", name, names)


def _names(cost: Any) -> Sequence[str]:
    """What may be asked of a cost: entries, or attributes that are no methods."""
    if isinstance(cost, Mapping):
        return list(map(str, cost))
    held = getattr(cost, "__dict__", {})
    return [name for name in dir(cost) if not name.startswith("_") and not callable(held.get(name, getattr(type(cost), name, None)))]
