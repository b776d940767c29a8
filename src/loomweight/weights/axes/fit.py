"""A written table meets a checkpoint: names are matched, sizes found out."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from ...errors import BadParameter, NamesDiffer, ShapesDiffer
from ..names import listed
from ..weights import Weights
from .language import Row, Text, filled, match, parsed
from .table import Axes, Axis, Layout, Space


def table_for(text: str, weights: Weights, how: str = "by hand") -> Axes:
    """The table that a text says, for this checkpoint.

    Args:
        text: see `language`. The first line that matches a tensor's name decides.
        weights: names and shapes are read, no data.

    Raises:
        BadParameter: a line is not understood; the size of a space is neither written nor told by a tensor.
        NamesDiffer: the text says nothing of a tensor.
        ShapesDiffer: a tensor's shape is not what the table says.

    >>> import torch
    >>> weights = Weights.of({"a.weight": torch.zeros(8, 3), "b.weight": torch.zeros(2, 8)})
    >>> table_for("a.weight : hidden <- 3\\nb.weight : 2 <- hidden", weights).spaces["hidden"].size
    8
    """
    read = parsed(text)
    layouts = _layouts(read, weights)
    used = {factor for _, layout in layouts.values() for axis in layout.axes for term in axis for factor in term if isinstance(factor, str)}
    spaces = _declared(read, weights, used)
    _find_sizes(layouts, spaces, weights)
    kept = {name: spaces[name] for used_name in sorted(used) for name in _with_parents(spaces, used_name)}
    table = Axes.of(kept, {name: layout for name, (_, layout) in layouts.items()}, how)
    for name, (line, _) in layouts.items():
        if table.expected(name) != weights.spec[name].shape:
            where = f"line {line} of the axes table" if line else "the axes table"
            raise ShapesDiffer(f"{where} says that tensor {name!r} has shape {table.expected(name)}, but it has {weights.spec[name].shape}.")
    return table


def _layouts(read: Text, weights: Weights) -> dict[str, tuple[int, Layout]]:
    found: dict[str, tuple[int, Layout]] = {}
    missing = []
    for name in weights.names:
        for row in read.rows:
            if (parts := match(row.pattern, name)) is not None:
                found[name] = (row.line, _layout(row, parts, name, weights.spec[name].shape))
                break
        else:
            missing.append(name)
    if missing:
        raise NamesDiffer(f"the axes table says nothing of {listed(missing)}; add a line for each, 'name : ...' for a tensor whose axes all stay.")
    return found


def _layout(row: Row, parts: tuple[str, ...], name: str, shape: tuple[int, ...]) -> Layout:
    if row.axes is None:
        return Layout(tuple(((size,),) for size in shape))
    if len(row.axes) != len(shape):
        raise ShapesDiffer(f"line {row.line} of the axes table gives tensor {name!r} {len(row.axes)} axes, but its shape is {shape}.")
    axes = [((size,),) if axis is None else _filled(axis, parts) for axis, size in zip(row.axes, shape, strict=True)]
    return Layout(tuple(axes), row.consumed)


def _filled(axis: Axis, parts: tuple[str, ...]) -> Axis:
    return tuple(tuple(filled(factor, parts) if isinstance(factor, str) else factor for factor in term) for term in axis)


def _declared(read: Text, weights: Weights, used: Collection[str]) -> dict[str, Space]:
    """Spaces with a written size, for every way to fill their `*`s that a tensor's name allows, or the name of a space that is used."""
    found: dict[str, Space] = {}
    fillings = {parts for row in read.rows for name in weights.names if (parts := match(row.pattern, name)) is not None} | {()}
    for space in read.spaces:
        stars = space.name.count("*")
        for parts in fillings | {parts for name in used if (parts := match(space.name, name)) is not None}:
            if len(parts) >= stars:
                full = filled(space.name, parts)
                found[full] = replace(space, name=full, within=tuple(filled(parent, parts) for parent in space.within))
    return found


def _find_sizes(layouts: Mapping[str, tuple[int, Layout]], spaces: dict[str, Space], weights: Weights) -> None:
    """Sizes that follow from shapes: an axis with a single unknown factor tells it; again, until nothing new is told."""
    while True:
        unknown: set[str] = set()
        told = False
        for name, (_, layout) in layouts.items():
            for axis, size in zip(layout.axes, weights.spec[name].shape, strict=True):
                missing = [factor for term in axis for factor in term if isinstance(factor, str) and factor not in spaces]
                unknown |= set(missing)
                if len(missing) == 1 and (found := _solved(axis, missing[0], size, spaces)):
                    spaces[missing[0]] = Space(missing[0], found)
                    told = True
        if not told:
            break
    if left := unknown - spaces.keys():
        raise BadParameter(f"the axes table does not say how large {listed(sorted(left))} is, and no tensor tells; write 'NAME = SIZE'.")


def _solved(axis: Axis, name: str, size: int, spaces: Mapping[str, Space]) -> int | None:
    each = rest = 0
    for term in axis:
        product = 1
        for factor in term:
            product *= factor if isinstance(factor, int) else spaces[factor].size if factor != name else 1
        each, rest = (each + product, rest) if name in term else (each, rest + product)
    found, remainder = divmod(size - rest, each)
    return found if found > 0 and not remainder else None


def _with_parents(spaces: Mapping[str, Space], name: str, below: tuple[str, ...] = ()) -> list[str]:
    """A space and all that it lies in; raise where a size is not written, or a space lies in itself."""
    if name not in spaces:
        raise BadParameter(f"the axes table puts a space into {name!r}, whose size is not written; write '{name} = SIZE'.")
    if name in below:
        raise BadParameter(f"the axes table puts the space {name!r} into itself.")
    return [name, *(found for parent in spaces[name].within for found in _with_parents(spaces, parent, (*below, name)))]
