"""Parameters of a recipe: numbers, gradients over depth, and conditions on tensor names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .fields import fields, required, shown, word
from .marks import Item, Place, Scalar

#: One value, or a gradient: values spread evenly over the layers of a slice.
Value = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Condition:
    """A value for the tensors whose name contains `filter`; None or "*" is every tensor."""

    value: Value
    filter: str | None
    place: Place

    def holds(self, name: str) -> bool:
        """True where it speaks of this tensor."""
        return self.filter in (None, "*") or (self.filter or "") in name

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The value, or every value of the gradient."""
        return self.value if isinstance(self.value, tuple) else (self.value,)


@dataclass(frozen=True)
class Setting:
    """Everything that one scope says about one parameter: the first condition that holds decides."""

    conditions: tuple[Condition, ...]
    place: Place

    def find(self, name: str) -> Condition | None:
        """The condition that decides for this tensor."""
        return next((condition for condition in self.conditions if condition.holds(name)), None)

    def refuse_idle(self, parameter: str, names: Iterable[str]) -> None:
        """Raise where a filter matches no tensor at all."""
        known = tuple(names)
        for condition in self.conditions:
            if not any(condition.holds(name) for name in known):
                condition.place.refuse(f"the filter {condition.filter!r} of {parameter} matches no tensor; names look like {known[len(known) // 2]!r}.")

    def shadowed(self) -> Condition | None:
        """The first condition that can never decide, because one before it holds for every tensor."""
        ends = [i for i, condition in enumerate(self.conditions) if condition.filter in (None, "*")]
        return self.conditions[ends[0] + 1] if ends and ends[0] + 1 < len(self.conditions) else None


#: parameter -> what one scope says about it
Settings = Mapping[str, Setting]


def gradient(values: tuple[Scalar, ...], t: float) -> Scalar:
    """The value at depth t in [0, 1] of values that stand at even distances: between them numbers are interpolated.

    Words and booleans are not: each holds until the next.

    >>> gradient((0, 0.5, 1), 0.25), gradient((True, False), 0.5)
    (0.25, True)
    """
    position = t * (len(values) - 1)
    before = int(position)
    left, right = values[before], values[min(before + 1, len(values) - 1)]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return left
    rest = position - before
    return (1 - rest) * left + rest * right if rest else left  # type: ignore[operator]


def read_settings(item: Item) -> Settings:
    """The mapping under a key `parameters`."""
    if not isinstance(item.value, dict):
        item.place.refuse(f"parameters must be a mapping of names to values, found {shown(item)}.")
    return {name: _setting(child, name) for name, child in item.value.items() if child.value is not None}


def _setting(item: Item, name: str) -> Setting:
    match item.value:
        case dict():
            conditions = (_condition(item, name),)
        case list() as items if items and all(isinstance(child.value, dict) for child in items):
            conditions = tuple(_condition(child, name) for child in items)
        case _:
            conditions = (Condition(_value(item, name), None, item.place),)
    return Setting(conditions, item.place)


def _condition(item: Item, name: str) -> Condition:
    found = fields(item, f"a condition of {name}", ("value", "filter"))
    value = required(found, "value", item, f"a condition of {name}")
    filter_ = word(found["filter"], "filter") if "filter" in found else None
    return Condition(_value(value, name), filter_, found["filter"].place if "filter" in found else item.place)


def _value(item: Item, name: str) -> Value:
    match item.value:
        case list() as items if items:
            if bad := [child for child in items if isinstance(child.value, list | dict) or child.value is None]:
                bad[0].place.refuse(f"a gradient of {name} holds plain values only, found {shown(bad[0])}.")
            return tuple(child.value for child in items)  # type: ignore[misc]
        case str() | bool() | int() | float() as scalar:
            return scalar
    raise item.place.error(f"{name} must be a value, a list of values over depth, or conditions with filter and value; found {shown(item)}.")
