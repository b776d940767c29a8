"""One pass over scores: count what lies above a bracket, collect what lies inside."""

from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import NonFinite
from ..weights import Block
from ..weights.spec import spans


@dataclass
class Tally:
    """What a pass found, block by block: how many scores are above, how many inside, and those inside (thinned, where too many)."""

    above: int = 0
    inside: list[int] = field(default_factory=list)
    pool: list[NDArray] = field(default_factory=list)
    stride: int = 1
    held: int = 0

    def collect(self, chunk: NDArray, most: int) -> None:
        """Add a block's values; past `most` only every second one is held from there on, and so forth."""
        self.inside.append(len(chunk))
        self.pool.append(chunk if self.stride == 1 else chunk[:: self.stride].copy())
        self.held += len(self.pool[-1])
        while self.held > max(most, 2 * len(self.pool)):
            self.stride *= 2
            self.pool = [part[::2].copy() for part in self.pool]
            self.held = sum(map(len, self.pool))


def tally(read: Block, numel: int, bracket: tuple[float, float], most: int, name: str, dtype: np.dtype | None = None) -> Tally:
    """Pass once over a tensor's scores. In a bracket of one value its ties are counted, not collected.

    Raises:
        NonFinite: a score is NaN.
    """
    low, high = bracket
    found = Tally()
    for lo, hi in spans(numel):
        scores = numbers(read(lo, hi), dtype)
        if low == -inf and high == inf:
            chunk = scores
        else:
            over = scores > high
            within = (scores < low) == over  # both false; so it is for NaN, which no comparison holds
            found.above += int(np.count_nonzero(over))
            if low == high and np.count_nonzero(within) == (ties := np.count_nonzero(scores == low)):
                found.inside.append(int(ties))
                continue
            chunk = scores[within]
        if np.isnan(chunk).any():
            at = lo + int(np.isnan(scores).argmax())
            raise NonFinite(f"tensor {name!r}: the score of entry {at} (flat) is NaN, which has no rank; mend the tensor or mask the entry first.")
        found.collect(chunk, most)
    return found


def numbers(scores: Tensor, dtype: np.dtype | None = None) -> NDArray:
    """A block as a numpy array, without a copy where it is in this machine's memory: comparing and counting there is several times faster."""
    array = scores.detach().cpu().numpy()
    return array if dtype is None else array.astype(dtype, copy=False)
