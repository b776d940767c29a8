"""A part of a space: some of the options of some fields."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import BadParameter, unknown
from ..search import Space


def narrowed(space: Space, options: Mapping[str, Sequence[Any]]) -> Space:
    """The space with these options only, in their order there; what depends on options that are gone stands at its last option.

    Raises:
        UnknownName: the space has no such field.
        BadParameter: an option is not the field's, or none is given.

    >>> from loomweight.search import Ordered
    >>> whole = Space({"depth": Ordered((1, 2)), "w": Ordered((8, 16))}, depends={"w": ("depth", (2,))})
    >>> narrowed(whole, {"depth": [1]}).count(), narrowed(whole, {"depth": [2]}).count()
    (1, 2)
    """
    dimensions = dict(space.dimensions)
    for name, some in options.items():
        if name not in dimensions:
            raise unknown("field", name, dimensions)
        dimension = dimensions[name]
        if bad := [option for option in some if not dimension.holds(option)]:
            raise BadParameter(f"{name} = {bad[0]!r} is not in {dimension}; allowed: {dimension.allowed}.")
        if not some:
            raise BadParameter(f"no option of {name!r} is given; allowed: {dimension.allowed}.")
        dimensions[name] = replace(dimension, options=tuple(o for o in dimension.every() if o in some))  # type: ignore[type-var]
    depends = dict[str, Any]()
    for name, (other, values) in space.depends.items():
        left = tuple(value for value in values if dimensions[other].holds(value))
        if left:
            depends[name] = (other, left)
        else:
            dimensions[name] = replace(dimensions[name], options=(dimensions[name].last,))  # type: ignore[type-var]
    return Space(dimensions, depends)
