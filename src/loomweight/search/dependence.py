"""Fields that matter only where another field has certain values: the width of a layer that a shallower network does not have."""

from collections.abc import Mapping
from math import prod
from typing import Any

from ..errors import BadParameter, unknown
from .dimension import Dimension

#: field -> (the field that it depends on, the values of that one for which it matters)
Depends = Mapping[str, tuple[str, tuple[Any, ...]]]


def checked(depends: Mapping[str, Any], dimensions: Mapping[str, Dimension]) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """The table, its values as tuples.

    Raises:
        UnknownName: a field is not in the space.
        BadParameter: an entry is no pair, a value is not one of the other field's, or fields depend on each other in a circle.
    """
    table = {field: _entry(field, entry, dimensions) for field, entry in depends.items()}
    for field in table:
        chain = [field]
        while chain[-1] in table:
            chain.append(table[chain[-1]][0])
            if chain[-1] == field:
                raise BadParameter(f"depends: {' depends on '.join(chain)}; a circle has no first field to choose.")
            if len(chain) > len(table) + 1:  # it runs into a circle that does not hold this field, which is reported at a field of it
                break
    return table


def _entry(field: str, entry: Any, dimensions: Mapping[str, Dimension]) -> tuple[str, tuple[Any, ...]]:
    if field not in dimensions:
        raise unknown("dimension", field, dimensions)
    if isinstance(entry, str) or len(entry) != 2 or isinstance(entry[1], str):
        raise BadParameter(f"depends: {field!r} needs a pair (other field, values of it for which {field!r} matters), found {entry!r}.")
    other, values = entry[0], tuple(entry[1])
    if other not in dimensions:
        raise unknown("dimension", other, dimensions)
    dimension = dimensions[other]
    if not values:
        raise BadParameter(f"depends: {field!r} would never matter, since no value of {other!r} is given; allowed: {dimension.allowed}.")
    if bad := [value for value in values if not dimension.holds(value)]:
        raise BadParameter(f"depends: {field!r} is to matter where {other} = {bad[0]!r}, which {other!r} never is; allowed: {dimension.allowed}.")
    if dimension.options_left(values[0]) is None:
        raise BadParameter(f"depends: {field!r} cannot depend on {other!r}, a number without gaps; use Int, Choice or Ordered for {other!r}.")
    return other, values


def parents_first(names: tuple[str, ...], depends: Depends) -> tuple[str, ...]:
    """The names, each after the one that it depends on, else in their order."""
    placed: dict[str, None] = {}
    for name in names:
        chain = [name]
        while chain[-1] in depends:
            chain.append(depends[chain[-1]][0])
        placed.update(dict.fromkeys(reversed(chain)))
    return tuple(placed)


def holds_for(field: str, value_of: Mapping[str, Any], depends: Depends) -> bool:
    """True where the value of the field that `field` depends on is one for which it matters."""
    if field not in depends:
        return True
    other, values = depends[field]
    found = value_of[other]
    return any(type(value) is type(found) and value == found for value in values)


def counted(dimensions: Mapping[str, Dimension], depends: Depends) -> int:
    """How many configurations differ in something that matters: over the forest of fields, a sum of products."""
    children: dict[str, list[str]] = {name: [] for name in dimensions}
    for field, (other, _) in depends.items():
        children[other].append(field)
    below: dict[str, int] = {}
    for name in reversed(parents_first(tuple(dimensions), depends)):
        mine = children[name]
        if not mine:
            below[name] = 1 + (dimensions[name].options_left(None) or 0)
            continue
        below[name] = sum(prod(below[child] for child in mine if holds_for(child, {name: value}, depends)) for value in dimensions[name].every())
    return prod(below[name] for name in dimensions if name not in depends)
