"""A part of a space: some of the options of some fields."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import BadParameter, unknown
from ..search import Space
from ..search.dimension import Dimension


def narrowed(space: Space, options: Mapping[str, Sequence[Any]]) -> Space:
    """The configurations of a space that have these options, and no others.

    A field that does not matter counts as standing at its last option, so that options without the last one are those of
    configurations in which the field matters: what it depends on is narrowed with it.

    Raises:
        UnknownName: the space has no such field.
        BadParameter: an option is not the field's, none is given, or no configuration is left.

    >>> from loomweight.search import Ordered
    >>> whole = Space({"depth": Ordered((1, 2)), "w": Ordered((8, 16))}, depends={"w": ("depth", (2,))})
    >>> narrowed(whole, {"depth": [1]}).count(), narrowed(whole, {"depth": [2]}).count()
    (1, 2)
    >>> list(narrowed(whole, {"w": [8]}).enumerate())
    [{'depth': 2, 'w': 8}]
    """
    dimensions: dict[str, Dimension] = dict(space.dimensions)
    for name, some in options.items():
        if name not in dimensions:
            raise unknown("field", name, dimensions)
        dimension = dimensions[name]
        if bad := [option for option in some if not dimension.holds(option)]:
            raise BadParameter(f"{name} = {bad[0]!r} is not in {dimension}; allowed: {dimension.allowed}.")
        if not some:
            raise BadParameter(f"no option of {name!r} is given; allowed: {dimension.allowed}.")
        dimensions[name] = _with(dimension, some)
    for name, some in options.items():
        if space.dimensions[name].last not in some:
            _matter(name, space, dimensions)
    depends = dict[str, Any]()
    for name, (other, values) in space.depends.items():
        left = tuple(value for value in values if dimensions[other].holds(value))
        if left:
            depends[name] = (other, left)
        else:
            dimensions[name] = _with(dimensions[name], (dimensions[name].last,))
    return Space(dimensions, depends)


def _matter(name: str, space: Space, dimensions: dict[str, Dimension]) -> None:
    """Leave those options of what a field depends on for which it matters."""
    while name in space.depends:
        other, values = space.depends[name]
        left = [value for value in values if dimensions[other].holds(value)]
        if not left:
            raise BadParameter(f"no configuration is left: {name!r} matters only where {other!r} is {', '.join(map(repr, values))}.")
        dimensions[other] = _with(dimensions[other], left)
        name = other


def _with(dimension: Dimension, some: Sequence[Any]) -> Dimension:
    return replace(dimension, options=tuple(option for option in dimension.every() if option in some))  # type: ignore[type-var]
