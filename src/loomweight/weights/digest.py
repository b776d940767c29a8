"""A digest of bytes at the speed of memory, to tell on resume whether what lies on the disk is what was written.

The bytes are taken as 64-bit words in rows of 1 KiB. With row sums s_r and fixed odd numbers m_r, the digest of one buffer is
sum_r m_r s_r modulo 2^64; those of consecutive buffers are chained as d -> M d + next, with M odd. Any change of a single
word changes the digest, because an odd number times a non-zero one is not zero modulo 2^64; rows, pages or buffers that are
zeroed or change places are missed with probability 2^-64. It guards against accidents, not against forgery.
"""

import numpy as np
from numpy.typing import NDArray

_ROW = 128
_TABLE = 4096
_MASK = (1 << 64) - 1
_CHAIN = 0x9E3779B97F4A7C15

#: Where a chain of digests begins.
START = 1


def chained(state: int, data: NDArray[np.uint8]) -> int:
    """The digest after `data`, given the one before it.

    >>> one, two = np.zeros(4096, np.uint8), np.ones(4096, np.uint8)
    >>> chained(chained(START, one), two) == chained(chained(START, two), one)
    False
    """
    step = 8 * _ROW * _TABLE
    for lo in range(0, len(data), step):
        state = (state * _CHAIN + _rows(data[lo : lo + step])) & _MASK
    return state


def _rows(data: NDArray[np.uint8]) -> int:
    whole = len(data) - len(data) % (8 * _ROW)
    total = 0
    if whole:
        head = data[:whole]
        words = (head if head.ctypes.data % 8 == 0 else head.copy()).view(np.uint64)
        sums = np.add.reduce(words.reshape(-1, _ROW), axis=1)
        total = int(np.dot(sums, _ODD[: len(sums)]))
    if whole < len(data):
        tail = np.zeros(8 * _ROW, np.uint8)
        tail[: len(data) - whole] = data[whole:]
        total += int(np.dot(tail.view(np.uint64), _ODD[:_ROW])) * _CHAIN
    return total


def _odd(count: int) -> NDArray[np.uint64]:
    """Fixed odd numbers without pattern: the output function of SplitMix64 over a counter."""
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_CHAIN)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (state ^ (state >> np.uint64(31))) | np.uint64(1)


_ODD = _odd(_TABLE)
