"""What follows when activations meet entry by entry, when an axis is summed away, and when one is multiplied with the other."""

from collections.abc import Callable, Sequence

import numpy as np

from .labels import Act, Ids, Ledger, depends, tight
from .relations import gathered, pinned, relate
from .scales import note_product


def meet(ledger: Ledger, *acts: Act) -> Act:
    """An entry-by-entry operation of several activations, broadcast: units at the same place are carried along together."""
    result = acts[0]
    for act in acts[1:]:
        result = _meet(ledger, result, act)
    return Act(result.shape, result.labels)


def _meet(ledger: Ledger, x: Act, y: Act) -> Act:
    shape = np.broadcast_shapes(x.shape, y.shape)
    mine, yours = _raised(x, len(shape)), _raised(y, len(shape))
    keep_mine, keep_yours = [True] * len(mine), [True] * len(yours)
    for i, a in enumerate(mine):
        for j, b in enumerate(yours):
            if set(depends(a)) & set(depends(b)):
                keep_a, keep_b = relate(ledger, a, b)
                keep_mine[i] &= keep_a or not keep_yours[j]
                keep_yours[j] &= keep_b or not keep_mine[i]
    kept = [ids for ids, keep in (*zip(mine, keep_mine, strict=True), *zip(yours, keep_yours, strict=True)) if keep]
    return Act(shape, ledger.kept(kept))


def _raised(act: Act, ndim: int) -> list[Ids]:
    """Label arrays with leading axes of size 1."""
    return [ids.reshape((1,) * (ndim - ids.ndim) + ids.shape) for ids in act.labels]


def reduce(ledger: Ledger, x: Act, axes: Sequence[int], keepdim: bool = False, hint: str = "heads") -> Act:
    """A symmetric reduction (sum, mean, maximum): the result has a unit for every set of units that was put together."""
    axes = sorted(axis % len(x.shape) for axis in axes)
    labels = [part for ids in x.labels if (part := _gathered(ledger, ids, axes, hint)) is not None]
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    result = Act(tuple(shape), ledger.kept(labels))
    if keepdim:
        return result
    kept = [size for axis, size in enumerate(shape) if axis not in axes]
    return result.moved(lambda ids: ids.squeeze(tuple(axes)), kept)


def _gathered(ledger: Ledger, ids: Ids, axes: Sequence[int], hint: str) -> Ids | None:
    """The coarse units, one for each place along the other axes; None where none are left."""
    if not set(depends(ids)) & set(axes):
        return ids
    coarse = tight(gathered(ledger, ids, axes, hint))
    return coarse if coarse.size > 1 else None


def settled(ledger: Ledger, x: Act, axes: Sequence[int], why: str = "") -> Act:
    """Something that treats the entries along these axes by their places (windows, look-ups, sorting): size 1 along them is left."""
    axes = sorted({axis % len(x.shape) for axis in axes})
    labels = []
    for ids in x.labels:
        ids = tight(pinned(ledger, ids, axes, why))
        labels += [ids] if ids.size > 1 else []
    return Act(tuple(1 if axis in axes else size for axis, size in enumerate(x.shape)), ledger.kept(labels), x.stored)


def placed(ledger: Ledger, x: Act, axes: Sequence[int], shape: Sequence[int]) -> Act:
    """New places along axes where there was nothing; they are no units."""
    wanted = {axis % len(shape) for axis in axes}
    new = ledger.fixed([size if axis in wanted else 1 for axis, size in enumerate(shape)])
    return Act(tuple(shape), (*x.labels, *new.labels))


def along(ledger: Ledger, x: Act, axes: Sequence[int], why: str = "") -> Act:
    """Entries along these axes are worked on by their places, and have places afterwards (cumulative sums, sorting): the shape stays."""
    return placed(ledger, settled(ledger, x, axes, why), axes, x.shape)


def part(ledger: Ledger, x: Act, move: Callable[[Ids], Ids], shape: Sequence[int]) -> Act:
    """A move that leaves entries out: what was every one with every one may not be so any longer."""
    made = x.moved(move, shape)
    entwined(ledger, made.labels)
    return made


def entwined(ledger: Ledger, labels: Sequence[Ids]) -> None:
    """Relate the arrays of one activation to one another."""
    varied = [ids for ids in labels if ids.size > 1]
    for i, a in enumerate(varied):
        for b in varied[:i]:
            if set(depends(a)) & set(depends(b)):
                relate(ledger, b, a)


def couple(ledger: Ledger, x: Act, axes: Sequence[int], hint: str = "heads") -> Act:
    """Something along these axes that treats their entries alike (softmax, normalisation): the shape stays."""
    reduce(ledger, x, axes, hint=hint)
    return Act(x.shape, x.labels)


def contract(ledger: Ledger, x: Act, y: Act, axes: Sequence[int], hint: str = "heads") -> Act:
    """Multiply entry by entry (broadcast), then sum over the axes. A stored one, `y` before `x`, consumes the units summed over."""
    ndim = max(len(x.shape), len(y.shape))
    eater = y if y.stored else x
    for ids in _raised(eater, ndim) if eater.stored else ():
        if set(depends(ids)) & {axis % ndim for axis in axes}:
            consume(ledger, str(eater.stored), ids)
    left, right = (Act((1,) * (ndim - len(act.shape)) + act.shape, tuple(_raised(act, ndim)), act.stored) for act in (x, y))
    note_product(ledger, left, right, [axis % ndim for axis in axes])
    shape = meet(ledger, x, y).shape
    return reduce(ledger, Act(shape, ledger.kept([*left.labels, *right.labels])), axes, hint=hint)


def consume(ledger: Ledger, stored: str, ids: Ids) -> None:
    """Note which axis of a stored tensor these slots are of."""
    wanted = int(ids.min())
    for (name, axis), slots in ledger.slots.items():
        if name == stored and slots.size and slots[0] <= wanted <= slots[-1]:
            ledger.consumed.add((name, axis))
            ledger.eaten[name, axis] += 1


def joined(ledger: Ledger, acts: Sequence[Act], axis: int) -> Act:
    """Concatenation along an axis."""
    ndim = max(len(act.shape) for act in acts)
    axis %= ndim
    acts = [act for act in acts if len(act.shape) == ndim and act.shape[axis]] or [Act(acts[0].shape)]
    size = sum(act.shape[axis] for act in acts)
    shape = tuple(size if i == axis else n for i, n in enumerate(acts[0].shape))

    def held(ids: Ids) -> bool:
        return ids.shape[axis] > 1 or not ledger.are_places(ids)

    beside = [Act((*act.shape[:axis], 1, *act.shape[axis + 1 :]), tuple(ids for ids in act.labels if not held(ids))) for act in acts]
    around = meet(ledger, *beside)
    marks = [ledger.fresh(1) for _ in acts]
    for mark in marks:
        ledger.frozen.append((mark, ""))
    parts = [_by_kind([ids for ids in act.labels if held(ids)], axis) for act in acts]
    lines = [_line(_filled([part.get(kind) for part in parts], axis), acts, marks, axis) for kind in dict.fromkeys(kind for part in parts for kind in part)]
    segment = np.concatenate([np.full(act.shape[axis], mark[0]) for act, mark in zip(acts, marks, strict=True)])
    segment = segment.reshape([size if i == axis else 1 for i in range(ndim)])
    new = [*map(tight, lines), tight(segment)]
    entwined(ledger, new)
    return Act(shape, ledger.kept([*new, *around.labels]))


def _by_kind(labels: Sequence[Ids], axis: int) -> dict[tuple[tuple[int, ...], int], Ids]:
    """Arrays by the other axes along which they vary, so that like follows like."""
    found: dict[tuple[tuple[int, ...], int], Ids] = {}
    for ids in labels:
        others = tuple(other for other in depends(ids) if other != axis)
        found[others, sum(kind == others for kind, _ in found)] = ids
    return found


def _filled(arrays: Sequence[Ids | None], axis: int) -> Sequence[Ids | None]:
    """A part that does not vary along the other axes may carry the units of those that do, if they all carry the same."""
    there = [ids for ids in arrays if ids is not None]
    alike = all(ids.shape[axis] == 1 and np.array_equal(ids, there[0]) for ids in there)
    return [there[0]] * len(arrays) if alike else arrays


def _line(arrays: Sequence[Ids | None], acts: Sequence[Act], marks: Sequence[Ids], axis: int) -> Ids:
    """One label array of every part, one after another; where a part has none, its mark."""
    ndim, counts = len(acts[0].shape), [act.shape[axis] for act in acts]
    parts = [np.full((1,) * ndim, mark[0]) if array is None else array for array, mark in zip(arrays, marks, strict=True)]
    sizes = [max(part.shape[i] for part in parts) for i in range(ndim)]
    wide = [np.broadcast_to(part, [count if i == axis else sizes[i] for i in range(ndim)]) for part, count in zip(parts, counts, strict=True)]
    return np.concatenate(wide, axis)


def reshaped(act: Act, shape: Sequence[int]) -> Act:
    """A view with another shape: runs of axes that hold the same entries are matched, arrays are spread within a run only."""
    runs = list(_runs(act.shape, tuple(shape)))

    def move(ids: Ids) -> Ids:
        ins: list[int] = []
        outs: list[int] = []
        for before, after in runs:
            varies = any(ids.shape[axis] > 1 for axis in before)
            ins += [act.shape[axis] if varies else 1 for axis in before]
            outs += [shape[axis] if varies else 1 for axis in after]
        return np.broadcast_to(ids, ins).reshape(outs)

    return act.moved(move, shape)


def _runs(before: tuple[int, ...], after: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes, before and after, with equal products."""
    runs, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        left, right = [i] if i < len(before) else [], [j] if j < len(after) else []
        a, b = (before[i] if left else 1), (after[j] if right else 1)
        i, j = i + len(left), j + len(right)
        while a != b:
            if a < b:
                a, left, i = a * before[i], [*left, i], i + 1
            else:
                b, right, j = b * after[j], [*right, j], j + 1
        runs.append((left, right))
    return runs


def take_all(value: object) -> list[Act]:
    """Every activation in nested lists."""
    if isinstance(value, Act):
        return [value]
    return [act for item in value for act in take_all(item)] if isinstance(value, list | tuple) else []
