"""Random numbers that any block of a tensor can have alone.

A tensor's entries are cut into chunks on a fixed grid, and each chunk has a generator of its own, seeded with a digest of the
key (edit, seed, set, tensor's name) and the chunk's number. So what is drawn for an entry depends on nothing else: not on the
block that is asked for, the order, the threads, the device or the other tensors. The bits come from numpy's SFC64, whose
stream numpy promises to keep, on every platform; the few that need more than one byte are a digest of key and place.

Paper of that digest: Fast splittable pseudorandom number generators (2014, https://doi.org/10.1145/2660193.2660195), figure 13.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from math import ceil, floor

import numpy as np
from numpy.random import SFC64
from numpy.typing import NDArray

from ..weights.spec import BLOCK

_STEP, _FIRST, _SECOND = (np.uint64(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


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
        leading = self.leading(lo, hi)
        sure, unsure = floor(256 * low), ceil(256 * high)
        below = leading < np.uint8(sure) if sure < 256 else np.ones(hi - lo, np.bool_)
        if sure == unsure:
            return below, np.empty(0, np.intp), np.empty(0)
        at = np.flatnonzero(leading == np.uint8(sure) if unsure == sure + 1 else (leading >= sure) & (leading < unsure))
        u = self.whole(leading, lo, at)
        below[at] = u < low
        middle = (u >= low) & (u < high)
        return below, at[middle], u[middle]

    def leading(self, lo: int, hi: int) -> NDArray[np.uint8]:
        """floor(256 u) for the entries [lo, hi)."""
        parts = [self._chunk(at)[max(lo - at, 0) : hi - at] for at in range(lo // BLOCK * BLOCK, hi, BLOCK)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint8), *parts])

    def whole(self, leading: NDArray[np.uint8], lo: int, at: NDArray[np.intp]) -> NDArray[np.float64]:
        """u with all its 53 bits, for the entries `at`, counted from lo; `leading` has their first bits."""
        z = (at + (lo + 1)).astype(np.uint64) * _STEP + self._start
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
        return (leading[at] + ((z ^ (z >> np.uint64(31))) >> np.uint64(19)) * 2.0**-45) / 256

    @cached_property
    def _start(self) -> np.uint64:
        return np.uint64(self._digest("rest") % 2**64)

    def _chunk(self, first: int) -> NDArray[np.uint8]:
        size = min(BLOCK, self.numel - first)
        source = SFC64(self._digest(first // BLOCK))
        return source.random_raw(-(-size // 8)).astype("<u8", copy=False).view(np.uint8)[:size]

    def _digest(self, part: object) -> int:
        return int.from_bytes(blake2b(repr((*self.key, part)).encode(), digest_size=16).digest(), "little")
