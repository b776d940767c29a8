"""The proof that a subnet is put together rightly: its units, exchanged, leave its function as it is."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from ..errors import BadParameter
from ..weights.axes import Axes, Layout, verify_together
from .sizes import size_of


def disproved(
    axes: Axes,
    fields: Mapping[str, str],
    values: Mapping[str, Any],
    plain: nn.Module,
    example: tuple[tuple[Any, ...], dict[str, Any]],
    outputs: Callable[[Any], Any] | None,
) -> str:
    """Why the exported subnet is wrong, or "": the table of the whole model, with the subnet's sizes, must hold for it.

    An attribute that was taken for the wrong size, say, may run and still mix up heads; then exchanging units changes the outputs.
    """
    sizes = {space: size_of(values[field], axes.spaces[space].size) for space, field in fields.items()}
    state = plain.state_dict()
    table = axes.resized(sizes)
    here = {name: _fitted(table, layout, tuple(state[name].shape)) for name, layout in table.layouts.items() if name in state}
    used = {factor for layout in here.values() for axis in layout.axes for term in axis for factor in term if isinstance(factor, str)}
    spaces = {name: replace(space, scales=False) for name, space in table.spaces.items() if name in used}
    kept = {name: space for name, space in spaces.items() if all(parent in spaces for parent in space.within)}
    if len(kept) < len(spaces) or not kept:
        return ""
    try:
        verify_together(Axes.of(kept, here), plain, example[0], example[1], outputs)
    except BadParameter as error:
        return f"the smallest subnet runs, but its units are mixed up ({error})"
    return ""


def _fitted(table: Axes, layout: Layout, shape: tuple[int, ...]) -> Layout:
    """Axes without units, those of a kernel, as long as they are here."""
    axes = tuple(axis if table.length(axis) == n else ((n,),) for axis, n in zip(layout.axes, shape, strict=True))
    return replace(layout, axes=axes)
