"""What the example does not reach: tensors of a branch that it did not take."""

import warnings
from collections.abc import Iterator

from ..weights.axes import Axes
from ..weights.names import listed


def reached(axes: Axes) -> Axes:
    """The table without the units of tensors that the recorded run did not use, which are warned about.

    Where the path depends on data, one run on the example is all that is known. No operation has met a tensor all of whose axes stand
    alone; what a branch that uses it would need of it is not known, so it keeps its size.
    """
    if not axes.how.startswith("make_fx"):
        return axes
    alone = {space for space in axes.spaces if len(axes.uses(space)) == 1}
    missed = {name: units for name, layout in axes.layouts.items() if (units := list(_units(layout.axes))) and alone.issuperset(units)}
    if missed:
        warnings.warn(
            f"the path through the model depends on data, and the example does not use {listed(list(missed))}: these keep their size, so that a smaller "
            "subnet fails where it reaches them. Give an example that does, or name the units by hand (`axes=`).",
            stacklevel=3,
        )
    return axes.without(*dict.fromkeys(str(unit) for units in missed.values() for unit in units))


def _units(layout: tuple[tuple[tuple[str | int, ...], ...], ...]) -> Iterator[str | int]:
    """What the axes are made of; an axis of length 1 says nothing."""
    yield from (factor for axis in layout for term in axis for factor in term if factor != 1)
