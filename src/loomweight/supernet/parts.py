"""Where in a stored tensor the entries of a subnet are.

A stored tensor is cut along its axes. Most axes are cut from the front, so that the part in use is a view of the stored memory: no
copy, and its gradient has the part's size. An axis that carries several runs of units (queries, keys and values side by side), or
units inside units (dims of heads), is cut inside; then the tensor is several parts, or a part with more axes, and what is used is
assembled from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

from ..weights.axes import Axes, Axis
from .sizes import size_of

Values = Mapping[str, Any]
Region = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Cut:
    """How far one axis of a part is used: the first value x unit entries, or that many in the middle; `sizes` says it for each value.

    >>> Cut(7, "kernel", centred=True).span({"kernel": 3})
    (2, 5)
    """

    length: int
    field: str | None = None
    unit: int = 1
    centred: bool = False
    sizes: tuple[tuple[Any, int], ...] = ()

    def span(self, values: Values) -> tuple[int, int]:
        """Begin and end."""
        if self.field is None:
            return 0, self.length
        value = values[self.field]
        count = dict(self.sizes)[value] if self.sizes else size_of(value, self.length // self.unit) * self.unit
        begin = (self.length - count) // 2 if self.centred else 0
        return begin, begin + count


@dataclass(frozen=True)
class Part:
    """A block of a stored tensor, seen with as many axes as its cuts need.

    Args:
        block: begin and length along each axis of the stored tensor.
        cuts: for each axis of the stored tensor one or more cuts; several split the axis, the last one runs fastest.
    """

    block: tuple[tuple[int, int], ...]
    cuts: tuple[tuple[Cut, ...], ...]

    @cached_property
    def flat(self) -> tuple[Cut, ...]:
        """All cuts in order."""
        return tuple(cut for several in self.cuts for cut in several)

    @property
    def plain(self) -> bool:
        """True where the part has the axes of its tensor, so that nothing has to be assembled."""
        return all(len(several) == 1 for several in self.cuts)

    def region(self, values: Values) -> Region:
        """Begin and end along each axis of the part."""
        return tuple(cut.span(values) for cut in self.flat)

    def view(self, tensor: Tensor, region: Region) -> Tensor:
        """The region of this part of any tensor of the stored shape: a view, never a copy."""
        for axis, (begin, length) in enumerate(self.block):
            if (begin, length) != (0, tensor.shape[axis]):
                tensor = tensor.narrow(axis, begin, length)
        if not self.plain:
            for axis in reversed(range(len(self.cuts))):
                if len(self.cuts[axis]) > 1:
                    tensor = tensor.unflatten(axis, [cut.length for cut in self.cuts[axis]])
        for axis, (begin, end) in enumerate(region):
            if end - begin < tensor.shape[axis]:
                tensor = tensor.narrow(axis, begin, end - begin)
        return tensor

    def merged(self, tensor: Tensor) -> Tensor:
        """What `view` made, with the axes of the stored tensor again."""
        sizes, axis = [], 0
        for several in self.cuts:
            size = 1
            for _ in several:
                size, axis = size * tensor.shape[axis], axis + 1
            sizes.append(size)
        return tensor.reshape(sizes)


@dataclass(frozen=True)
class Layout:
    """All parts of one tensor: a grid of blocks, the last axis running fastest."""

    parts: tuple[Part, ...]
    counts: tuple[int, ...]

    @property
    def plain(self) -> bool:
        """True where the tensor in use is one view."""
        return len(self.parts) == 1 and self.parts[0].plain

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that it depends on."""
        return tuple(dict.fromkeys(cut.field for part in self.parts for cut in part.flat if cut.field))

    def assembled(self, pieces: Sequence[Tensor]) -> Tensor:
        """The tensor in use, from what each part's view is."""
        blocks = [part.merged(piece) for part, piece in zip(self.parts, pieces, strict=True)]
        for axis in reversed(range(len(self.counts))):
            if (count := self.counts[axis]) > 1:
                blocks = [torch.cat(blocks[i : i + count], axis) for i in range(0, len(blocks), count)]
        return blocks[0]


def cells(regions: Sequence[Region]) -> list[Region]:
    """The smallest boxes between all edges of regions that lie in one of them.

    >>> cells([((0, 4), (0, 8)), ((0, 8), (0, 4))])
    [((0, 4), (0, 4)), ((0, 4), (4, 8)), ((4, 8), (0, 4))]
    """
    edges = [sorted({edge for region in regions for edge in region[axis]}) for axis in range(len(regions[0]))]
    boxes = product(*(list(pairwise(along)) for along in edges))
    return [box for box in boxes if any(_inside(box, region) for region in regions)]


def _inside(box: Region, region: Region) -> bool:
    return all(low <= begin and end <= high for (begin, end), (low, high) in zip(box, region, strict=True))


def layout_of(axes: Axes, tensor: str, fields: Mapping[str, str], windows: Mapping[int, Cut]) -> Layout:
    """The parts of a tensor.

    Args:
        axes: the table of the model.
        tensor: its name there.
        fields: space -> the field that says its size.
        windows: axis -> cut, for axes without units (those of a kernel).
    """
    lines = [[((0, windows[i].length), (windows[i],))] if i in windows else _line(axes, axis, fields) for i, axis in enumerate(axes.layouts[tensor].axes)]
    parts = [Part(tuple(block for block, _ in chosen), tuple(cuts for _, cuts in chosen)) for chosen in product(*lines)]
    return Layout(tuple(parts), tuple(len(line) for line in lines))


def _line(axes: Axes, axis: Axis, fields: Mapping[str, str]) -> list[tuple[tuple[int, int], tuple[Cut, ...]]]:
    """(begin, length), cuts: one for each run of units along an axis; neighbours that stay whole are one run."""
    runs: list[tuple[tuple[int, int], tuple[Cut, ...]]] = []
    begin = 0
    for term in axis or ((1,),):
        sizes = axes.sizes(term)
        cuts: list[Cut] = []
        for factor, size in zip(term, sizes, strict=True):
            field = fields.get(factor) if isinstance(factor, str) else None
            if field or not cuts:
                cuts.append(Cut(size, field))
            else:
                last = cuts[-1]
                cuts[-1] = Cut(last.length * size, last.field, last.unit * size)
        cuts = cuts[1:] if len(cuts) > 1 and cuts[0].length == 1 else cuts
        length = axes.length((term,))
        whole = len(cuts) == 1 and cuts[0].field is None
        if runs and whole and len(runs[-1][1]) == 1 and runs[-1][1][0].field is None:
            (start, before), _ = runs.pop()
            runs.append(((start, before + length), (Cut(before + length),)))
        else:
            runs.append(((begin, length), tuple(cuts)))
        begin += length
    return runs
