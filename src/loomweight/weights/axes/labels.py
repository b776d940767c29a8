"""What is known of an activation while a model is traced: which unit every entry belongs to.

Units are numbers. A label array gives the unit of each entry of an activation along some of its axes; along the others it has
size 1. An activation (b, h, t, d) of an attention block carries an array (1, h, 1, d): the units of one projection, seen as heads
times dims. Moving data about (view, transpose, slice, cat) is the same move on the label arrays. An axis along which no array
varies holds copies of one value.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Act:
    """Shape and label arrays of an activation; `stored` is the tensor that it is a view of, if it is a parameter; `value` its numbers, if it is an
    index that the model's code names."""

    shape: tuple[int, ...]
    labels: tuple[Ids, ...] = ()
    stored: str | None = None
    value: Ids | None = None

    def moved(self, move: Callable[[Ids], Ids], shape: Sequence[int]) -> "Act":
        """The same move on every label array."""
        return Act(tuple(shape), tuple(tight(move(ids)) for ids in self.labels), self.stored)


def depends(ids: Ids) -> tuple[int, ...]:
    """The axes along which an array varies."""
    return tuple(axis for axis, size in enumerate(ids.shape) if size > 1)


def tight(ids: Ids) -> Ids:
    """The array with size 1 along every axis on which it is constant."""
    for axis, size in enumerate(ids.shape):
        if size > 1:
            first = ids.take([0], axis)
            ids = first if (ids == first).all() else ids
    return ids


@dataclass
class Ledger:
    """Everything that the trace finds out, as facts about units; `solve` draws the conclusions.

    same: pairs of units that are one. coarser: (fine, coarse) pairs: a permutation of the fine units must carry the coarse
    ones along (a head is coarser than the dims in it). frozen: units that stay where they are, and why.
    unscaled: units that may not be multiplied by a number. eaten, touched: how often a tensor consumes along an axis, and is used.
    """

    total: int = 0
    same: list[tuple[Ids, Ids]] = field(default_factory=list)
    coarser: list[tuple[Ids, Ids]] = field(default_factory=list)
    frozen: list[tuple[Ids, str]] = field(default_factory=list)
    unscaled: list[Ids] = field(default_factory=list)
    slots: dict[tuple[str, int], Ids] = field(default_factory=dict)
    consumed: set[tuple[str, int]] = field(default_factory=set)
    eaten: Counter[tuple[str, int]] = field(default_factory=Counter)
    touched: Counter[str] = field(default_factory=Counter)
    hints: dict[int, str] = field(default_factory=dict)
    left: list[tuple[str, str]] = field(default_factory=list)
    _places: bytearray = field(default_factory=bytearray)

    def fresh(self, *shape: int) -> Ids:
        """New units."""
        size = int(np.prod(shape))
        ids = np.arange(self.total, self.total + size, dtype=np.int64).reshape(shape)
        self.total += size
        self._places += bytes(size)
        return ids

    def are_places(self, ids: Ids) -> bool:
        """Whether these were made as places that are no units: examples, positions."""
        return bool(np.frombuffer(self._places, np.uint8)[ids].all())

    def fixed(self, shape: Sequence[int], why: str = "") -> Act:
        """An activation whose every axis counts something that is no unit: examples, positions, classes."""
        labels = []
        for axis, size in enumerate(shape):
            if size > 1:
                ids = self.fresh(size)
                self.frozen.append((ids, why))
                self._places[-size:] = b"\1" * size
                labels.append(ids.reshape([size if other == axis else 1 for other in range(len(shape))]))
        return Act(tuple(shape), tuple(labels))

    def parameter(self, name: str, shape: Sequence[int]) -> Act:
        """A stored tensor: every index of every axis is a slot for a unit."""
        labels = []
        for axis, size in enumerate(shape):
            if (name, axis) not in self.slots:
                self.slots[name, axis] = self.fresh(size)
            labels.append(self.slots[name, axis].reshape([size if other == axis else 1 for other in range(len(shape))]))
        return Act(tuple(shape), tuple(ids for ids in labels if ids.size > 1), name)

    def kept(self, labels: Sequence[Ids]) -> tuple[Ids, ...]:
        """Without arrays that are there twice. A unit that is left alone (taken out of its space by a slice) has to stay."""
        found: dict[tuple[tuple[int, ...], bytes], Ids] = {}
        for ids in labels:
            if ids.size > 1:
                found.setdefault((ids.shape, np.ascontiguousarray(ids).tobytes()), ids)
            elif not self.are_places(ids):
                self.frozen.append((ids.ravel(), "it is taken out of its space alone"))
        return tuple(found.values())

    def freeze(self, act: Act, why: str, axes: Sequence[int] | None = None) -> None:
        """The units of an activation (along some axes) stay where they are."""
        for ids in act.labels:
            if axes is None or any(ids.shape[axis] > 1 for axis in axes):
                self.frozen.append((ids.ravel(), why))
