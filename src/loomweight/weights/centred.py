"""Gram matrices summed over blocks, centred so that small differences keep their own precision.

With w_c one of the sets and r_i = w_i - w_c, a block's inner products of w_c and the r_i are computed in the dtype of the block
and summed in float64 as the matrix R; the Gram matrix is put together at the end: <w_i, w_j> = R_cc + R_ci + R_cj + R_ij. What
R_cc lacks in precision cancels in every distance and every angle. Two things would spoil that, and both are met:

- Sets that lie close together but far from w_c (which is an outlier, or zero) would lose their distance in
  R_ii + R_jj - 2 R_ij. A block where that shows is computed again, and the following ones at once, around a set of the
  largest cluster.
- Entries whose squares overflow float32 are multiplied in float64; so are short blocks.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..shapes import Float
from .spec import BLOCK, spans

Matrix = NDArray[np.float64]

# N = sets, P = entries of a block
_FEW = 4  # up to so many sets, dot products beat a matrix product
_LOST = 1e-3  # a squared distance below this part of what it is the difference of has lost three digits
_CACHED = 1 << 20  # entries of all sets together that are worked on at once
_SHORT = 1 << 12  # entries of a block that float64 costs nothing for, and float32 errors do not average out in
_ALIGNED = 64  # bytes; products of memory aligned alike are alike to the last bit


class CentredGram:
    """The Gram matrix of `n` sets, summed over blocks of at most `entries` entries.

    >>> gram = CentredGram(2, 2)
    >>> gram.add([torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])])
    >>> gram.value()
    array([[25.  , 27.  ],
           [27.  , 29.25]])
    """

    def __init__(self, n: int, entries: int) -> None:
        self._shape = (n, min(entries, BLOCK, max(BLOCK // 16, _CACHED // n // _SHORT * _SHORT)))
        self._scratch: Tensor | None = None
        self._done = np.zeros((n, n))
        self._move(0)

    def add(self, blocks: Sequence[Float[Tensor, " p"]]) -> None:
        """Add the inner products of these entries, one block a set, all of one dtype, in parts that fit the cache."""
        for lo, hi in spans(len(blocks[0]), self._shape[1]):
            self._add([block[lo:hi] for block in blocks])

    def _add(self, blocks: Sequence[Tensor]) -> None:
        blocks = [block.double() for block in blocks] if len(blocks[0]) <= _SHORT else blocks
        with np.errstate(invalid="ignore", over="ignore"):
            part = self._products(blocks)
            if not self._sound(part):
                part = self._better(blocks, part)  # may begin a new sum
            self._sum += part

    def value(self) -> Matrix:
        """The Gram matrix; not finite where an entry was not, or where squares overflowed float64."""
        c, part = self._centre, self._sum.copy()
        own, across = part[c, c], part[c].copy()
        part[c, :] = part[:, c] = across[c] = 0
        with np.errstate(invalid="ignore", over="ignore"):
            return self._done + (part + own + across[:, None] + across)

    def _move(self, centre: int) -> None:
        if hasattr(self, "_sum"):
            self._done = self.value()
        n = self._shape[0]
        self._centre = centre
        self._sum = np.zeros((n, n))
        self._no_pair = np.diag(np.full(n, np.inf))
        self._no_pair[centre, :] = self._no_pair[:, centre] = np.inf

    def _sound(self, part: Matrix) -> bool:
        """Whether all is finite and no distance was lost between sets other than the centre."""
        if len(part) < 3:
            return bool(np.isfinite(part).all())
        lengths = part.diagonal()
        both = lengths[:, None] + lengths
        return bool((both - 2 * part + self._no_pair >= _LOST * both).all())

    def _better(self, blocks: Sequence[Tensor], part: Matrix) -> Matrix:
        """The products in float64 where they overflow, around a set of the largest cluster where that is another one."""
        part = part if np.isfinite(part).all() else self._products([block.double() for block in blocks])
        centre = _largest_cluster(part, self._centre)
        if centre == self._centre:
            return part
        self._move(centre)
        part = self._products(blocks)
        return part if np.isfinite(part).all() else self._products([block.double() for block in blocks])

    def _products(self, blocks: Sequence[Tensor]) -> Matrix:
        """R: inner products of the r_i, and of w_c in the place of r_c."""
        start = blocks[self._centre]
        if self._scratch is None or self._scratch.dtype != start.dtype:
            self._scratch = torch.empty(self._shape, dtype=start.dtype, device=start.device)
        rows = self._scratch[:, : len(start)]
        apart = len(blocks) <= _FEW and start.data_ptr() % _ALIGNED == 0
        for i, block in enumerate(blocks):
            if i != self._centre:
                torch.sub(block, start, out=rows[i])
            elif not apart:
                rows[i].copy_(start)
        if len(blocks) > _FEW:
            return _by_panels(rows)
        vectors = list(rows.unbind())
        if apart:
            vectors[self._centre] = start
        return _by_dots(vectors)


def _by_dots(vectors: Sequence[Float[Tensor, " p"]]) -> Matrix:
    result = np.empty((len(vectors), len(vectors)))
    for i, left in enumerate(vectors):
        for j in range(i + 1):
            result[i, j] = result[j, i] = torch.dot(left, vectors[j]).item()
    return result


def _by_panels(rows: Float[Tensor, "n p"]) -> Matrix:
    """Products of a panel of rows with all rows up to it; what lies above the diagonal is the same."""
    n = len(rows)
    width = 4 if n <= 12 else 32
    result = np.zeros((n, n))
    for lo in range(0, n, width):
        hi = min(lo + width, n)
        result[lo:hi, :hi] = (rows[lo:hi] @ rows[:hi].T).cpu().numpy()
    lower = np.tril(result, -1)
    return lower + lower.T + np.diag(result.diagonal())


def _largest_cluster(part: Matrix, centre: int) -> int:
    """The centre, or a set of a larger cluster, so far from the centre that distances within it are lost."""
    part = part.copy()
    part[centre, :] = part[:, centre] = 0
    lengths = part.diagonal()
    reach = np.maximum(lengths[:, None], lengths)
    distances = lengths[:, None] + lengths - 2 * part
    lost = distances < _LOST * reach
    np.fill_diagonal(lost, False)
    if not lost.any():
        return centre
    members = (distances <= _LOST * reach[lost].max()).sum(1)
    best = int(members.argmax())
    return best if members[best] > members[centre] else centre
