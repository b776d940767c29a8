"""Random numbers that any block of a tensor can have alone.

A tensor's entries are cut into chunks on a fixed grid, and each chunk has a generator of its own, seeded with a digest of the
key (edit, seed, set, tensor's name) and the chunk's number. So what is drawn for an entry depends on nothing else: not on the
block that is asked for, the order, the threads, the device or the other tensors. The bits come from numpy's SFC64, whose
stream numpy promises to keep, on every platform.
"""

from dataclasses import dataclass
from hashlib import blake2b
from math import ceil, floor

import numpy as np
from numpy.random import SFC64
from numpy.typing import NDArray

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Draws:
    """One uniform number u in [0, 1) for each of `numel` entries.

    Eight bits are drawn for every entry, and the other bits only where these do not settle the question: comparing with a
    probability is exact and costs little more than one byte.

    >>> kept = Draws(("doc", 0), 1000).below(0.25, 0, 1000)
    >>> assert 200 < kept.sum() < 300
    >>> assert (kept[5:9] == Draws(("doc", 0), 1000).below(0.25, 5, 9)).all()
    """

    key: tuple[object, ...]
    numel: int

    def below(self, p: float, lo: int, hi: int) -> NDArray[np.bool_]:
        """u < p, for the entries [lo, hi): true with probability p."""
        return self.between(p, p, lo, hi)[0]

    def between(self, low: float, high: float, lo: int, hi: int) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.float64]]:
        """u < low for the entries [lo, hi); where low <= u < high (counted from lo); and u there."""
        below = np.empty(hi - lo, np.bool_)
        places, values = [], []
        for chunk in range(lo // _CHUNK, -(-hi // _CHUNK)):
            first = chunk * _CHUNK
            a, b = max(lo, first), min(hi, first + _CHUNK)
            under, at, u = self._chunk(chunk, low, high)
            below[a - lo : b - lo] = under[a - first : b - first]
            here = slice(*np.searchsorted(at, (a - first, b - first)))
            places.append(at[here] + (first - lo))
            values.append(u[here])
        return below, np.concatenate([np.empty(0, np.intp), *places]), np.concatenate([np.empty(0), *values])

    def _chunk(self, chunk: int, low: float, high: float) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.float64]]:
        size = min(_CHUNK, self.numel - chunk * _CHUNK)
        source = SFC64(int.from_bytes(blake2b(repr((*self.key, chunk)).encode(), digest_size=16).digest(), "little"))
        first = source.random_raw(-(-size // 8)).astype("<u8", copy=False).view(np.uint8)[:size]
        sure, unsure = floor(256 * low), ceil(256 * high)
        under = first < np.uint16(sure) if sure > 255 else first < np.uint8(sure)
        doubt = first == sure if unsure == sure + 1 else (first >= sure) & (first < unsure) if unsure > sure else np.zeros(size, np.bool_)
        at = np.flatnonzero(doubt)
        u = (first[at] + (source.random_raw(len(at)) >> np.uint64(11)) * 2.0**-53) / 256
        under[at] = u < low
        middle = (u >= low) & (u < high)
        return under, at[middle], u[middle]
