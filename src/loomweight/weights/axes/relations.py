"""What follows where label arrays belong to the same entries, and where entries along an axis are put together."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from .labels import Ids, Ledger, depends

_TANGLED = "units are put together in a way that no table can say"


def relate(ledger: Ledger, a: Ids, b: Ids) -> tuple[bool, bool]:
    """Two label arrays of the same entries: note what follows, and say which of them to carry on (both, if neither tells the other).

    One to one: the units are the same. Many to one: the many are finer. Every one with every one, equally often: rows and columns
    of a product, free of each other. Anything else stays.
    """
    mine, yours = set(depends(a)) - set(depends(b)), set(depends(b)) - set(depends(a))
    if mine and yours:
        relate(ledger, gathered(ledger, a, mine), gathered(ledger, b, yours))
        return True, True
    a, b = np.broadcast_arrays(*_common(a, b))
    pairs, counts = _pairs(a.ravel(), b.ravel())
    of_a, of_b = len(np.unique(pairs[0])), len(np.unique(pairs[1]))
    if len(counts) == of_a == of_b:
        ledger.same.append((pairs[0], pairs[1]))
    elif len(counts) == of_a:
        ledger.coarser.append((pairs[0], pairs[1]))
    elif len(counts) == of_b:
        ledger.coarser.append((pairs[1], pairs[0]))
    else:
        _crossed(ledger, pairs, counts)
    return len(counts) != of_b or of_a == of_b, len(counts) != of_a


def _crossed(ledger: Ledger, pairs: Ids, counts: NDArray[np.int64]) -> None:
    """Neither array tells the other."""
    parts = _parts(pairs)
    if not _complete(pairs, counts, parts):
        ledger.frozen.append((np.unique(pairs), _TANGLED))
    elif parts.max() > 0:
        coarse = ledger.fresh(int(parts.max()) + 1)[parts]
        ledger.coarser += [(pairs[0], coarse), (pairs[1], coarse)]


def gathered(ledger: Ledger, ids: Ids, axes: Collection[int], hint: str = "heads") -> Ids:
    """One coarse unit for all that lie along `axes`, for each place along the others."""
    left = [axis for axis in range(ids.ndim) if axis not in axes]
    lines = ids.transpose([*left, *sorted(axes)]).reshape([*(ids.shape[axis] for axis in left), -1])
    different, which = np.unique(lines.reshape(-1, lines.shape[-1]), axis=0, return_inverse=True)
    new = ledger.fresh(len(different))
    ledger.hints.update(dict.fromkeys(new.tolist(), hint) if hint else {})
    if len(new) == 1:
        ledger.frozen.append((new, ""))
    repeated = [np.unique(line, return_counts=True) for line in different]
    if sum(len(units) for units, _ in repeated) != len(np.unique(different)):
        ledger.frozen.append((ids.ravel(), "one unit takes part in several sums of one operation"))
    _mark_counts(ledger, repeated)
    ledger.coarser.append((different.ravel(), np.repeat(new, different.shape[1])))
    return new[which.ravel()].reshape([1 if axis in axes else size for axis, size in enumerate(ids.shape)])


def _mark_counts(ledger: Ledger, lines: list[tuple[Ids, NDArray[np.int64]]]) -> None:
    """Units that are there a different number of times are not exchanged with one another."""
    units, counts = (np.concatenate(side) for side in zip(*lines, strict=True))
    different, which = np.unique(counts, return_inverse=True)
    if len(different) > 1:
        marks = ledger.fresh(len(different))
        ledger.frozen.append((marks, ""))
        ledger.coarser.append((units, marks[which]))


def pinned(ledger: Ledger, ids: Ids, axes: Collection[int], why: str) -> Ids:
    """Entries along `axes` keep their places there, then are gathered; along the other axes units stay free."""
    along = [size if axis in axes else 1 for axis, size in enumerate(ids.shape)]
    if int(np.prod(along)) == 1:
        return ids
    places = ledger.fresh(int(np.prod(along)))
    ledger.frozen.append((places, why))
    relate(ledger, ids, places.reshape(along))
    return gathered(ledger, ids, axes, "")


def _pairs(a: Ids, b: Ids) -> tuple[Ids, NDArray[np.int64]]:
    """The different pairs, as two rows, and how often each is there."""
    low, width = int(b.min()), int(b.max() - b.min()) + 1
    keys, counts = np.unique(a * width + (b - low), return_counts=True)
    return np.stack([keys // width, keys % width + low]), counts


def _parts(pairs: Ids) -> NDArray[np.int64]:
    """Which connected part of the graph that the pairs make each pair is in."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    left, right = np.unique(pairs[0], return_inverse=True)[1], np.unique(pairs[1], return_inverse=True)[1]
    size = int(left.max()) + 1
    total = size + int(right.max()) + 1
    graph = coo_matrix((np.ones(len(left), np.int8), (left, right + size)), (total, total))
    return connected_components(graph, directed=False)[1][left].astype(np.int64)


def _complete(pairs: Ids, counts: NDArray[np.int64], parts: NDArray[np.int64]) -> bool:
    """Within every part, each unit of one side meets each of the other, equally often."""
    for part in range(int(parts.max()) + 1):
        here, often = pairs[:, parts == part], counts[parts == part]
        if len(np.unique(here[0])) * len(np.unique(here[1])) != here.shape[1] or often.min() != often.max():
            return False
    return True


def _common(a: Ids, b: Ids) -> tuple[Ids, Ids]:
    """Both arrays on the axes along which one of them varies."""
    axes = sorted({*depends(a), *depends(b)})
    return a.reshape([a.shape[axis] for axis in axes]), b.reshape([b.shape[axis] for axis in axes])
