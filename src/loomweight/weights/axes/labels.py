"""What is known of an activation while a model is traced: which unit every entry belongs to.

Units are numbers. A label array gives the unit of each entry of an activation along some of its axes; along the others it has
size 1. An activation (b, h, t, d) of an attention block carries an array (1, h, 1, d): the units of one projection, seen as heads
times dims. Moving data about (view, transpose, slice, cat) is the same move on the label arrays. An axis along which no array
varies holds copies of one value.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Act:
    """Shape and label arrays of an activation; `stored` is the tensor that it is a view of, if it is a parameter."""

    shape: tuple[int, ...]
    labels: tuple[Ids, ...] = ()
    stored: str | None = None

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


def unique_labels(labels: Sequence[Ids]) -> tuple[Ids, ...]:
    """Without arrays that are there twice, and without those that do not vary."""
    kept: dict[tuple[tuple[int, ...], bytes], Ids] = {}
    for ids in labels:
        if ids.size > 1:
            kept.setdefault((ids.shape, np.ascontiguousarray(ids).tobytes()), ids)
    return tuple(kept.values())


@dataclass
class Ledger:
    """Everything that the trace finds out, as facts about units; `solve` draws the conclusions.

    same: pairs of units that are one. coarser: (fine, coarse) pairs: a permutation of the fine units must carry the coarse
    ones along (a head is coarser than the dims in it). frozen: units that stay where they are, and why.
    """

    total: int = 0
    same: list[tuple[Ids, Ids]] = field(default_factory=list)
    coarser: list[tuple[Ids, Ids]] = field(default_factory=list)
    frozen: list[tuple[Ids, str]] = field(default_factory=list)
    unscaled: list[Ids] = field(default_factory=list)
    slots: dict[tuple[str, int], Ids] = field(default_factory=dict)
    consumed: set[tuple[str, int]] = field(default_factory=set)
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
        return Act(tuple(shape), unique_labels(labels), name)

    def freeze(self, act: Act, why: str, axes: Sequence[int] | None = None) -> None:
        """The units of an activation (along some axes) stay where they are."""
        for ids in act.labels:
            if axes is None or any(ids.shape[axis] > 1 for axis in axes):
                self.frozen.append((ids.ravel(), why))

    def relate(self, a: Ids, b: Ids) -> tuple[bool, bool]:
        """Two label arrays of the same entries: note what follows, and say which of the two must be carried on (both, if neither tells the other)."""
        mine, yours = set(depends(a)) - set(depends(b)), set(depends(b)) - set(depends(a))
        if mine and yours:
            self.relate(self.gathered(a, mine), self.gathered(b, yours))
            return True, True
        a, b = np.broadcast_arrays(*_common(a, b))
        pairs, parts = _partners(a.ravel(), b.ravel())
        of_a, of_b = len(np.unique(pairs[0])), len(np.unique(pairs[1]))
        if pairs.shape[1] == of_a == of_b:
            self.same.append((pairs[0], pairs[1]))
        elif pairs.shape[1] == of_a:
            self.coarser.append((pairs[0], pairs[1]))
        elif pairs.shape[1] == of_b:
            self.coarser.append((pairs[1], pairs[0]))
        elif not _independent(pairs, parts):
            self.frozen.append((np.unique(pairs), "units are put together in a way that no table can say"))
        elif parts.max() > 0:
            coarse = self.fresh(int(parts.max()) + 1)[parts]
            self.coarser += [(pairs[0], coarse), (pairs[1], coarse)]
        return pairs.shape[1] != of_b or of_a == of_b, pairs.shape[1] != of_a

    def gathered(self, ids: Ids, axes: Collection[int], hint: str = "heads") -> Ids:
        """One coarse unit for all that lie along `axes`, for each place along the others."""
        left = [axis for axis in range(ids.ndim) if axis not in axes]
        lines = ids.transpose([*left, *sorted(axes)]).reshape([*(ids.shape[axis] for axis in left), -1])
        different, which = np.unique(lines.reshape(-1, lines.shape[-1]), axis=0, return_inverse=True)
        new = self.fresh(len(different))
        self.hints.update(dict.fromkeys(new.tolist(), hint))
        if len(new) == 1:
            self.frozen.append((new, ""))
        if sum(len(np.unique(line)) for line in different) != len(np.unique(different)):
            self.frozen.append((ids.ravel(), "one unit takes part in several sums of one operation"))
        self.coarser.append((different.ravel(), np.repeat(new, different.shape[1])))
        return new[which.ravel()].reshape([1 if axis in axes else size for axis, size in enumerate(ids.shape)])


def _partners(a: Ids, b: Ids) -> tuple[Ids, Ids]:
    """The different pairs, as two rows; and which connected part of the graph that they make each pair is in."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = np.unique(np.stack([a, b]), axis=1)
    left, right = np.unique(pairs[0], return_inverse=True)[1], np.unique(pairs[1], return_inverse=True)[1]
    size = int(left.max()) + 1
    total = size + int(right.max()) + 1
    graph = coo_matrix((np.ones(len(left), np.int8), (left, right + size)), (total, total))
    return pairs, connected_components(graph, directed=False)[1][left].astype(np.int64)


def _independent(pairs: Ids, parts: Ids) -> bool:
    """Within every part, each unit of one side meets each of the other."""
    complete = 0
    for part in range(int(parts.max()) + 1):
        here = pairs[:, parts == part]
        complete += len(np.unique(here[0])) * len(np.unique(here[1]))
    return complete == pairs.shape[1]


def _common(a: Ids, b: Ids) -> tuple[Ids, Ids]:
    """Both arrays on the axes along which one of them varies."""
    axes = sorted({*depends(a), *depends(b)})
    return a.reshape([a.shape[axis] for axis in axes]), b.reshape([b.shape[axis] for axis in axes])
