"""The k largest scores of tensors that are read by blocks: exact, at about the speed of one pass.

A sample of the scores brackets the threshold. One pass counts what lies above the bracket and collects what lies inside; the
threshold is selected among those few. Where the bracket missed, or held too much to collect, what the pass learned gives the
next bracket. So memory stays at a few blocks and the bracket, and the answer never depends on the sample.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..engines import current
from ..errors import BadParameter
from ..shapes import Bool, Float
from ..weights import BLOCK, Block
from .tally import Tally, numbers, tally

#: up to this many entries everything is collected at once
_DIRECT = 1 << 14
#: the sample: short runs of entries, one a block, within these bounds
_RUN, _FEWEST, _MOST = 512, 16, 1024
#: half the width of a bracket, in standard deviations of the sample's quantile
_MARGIN = 3.5
_GOLDEN = 0.6180339887498949
_BINS = 1 << 11


@dataclass(frozen=True)
class Cut:
    """Which entries of a tensor are kept: score > threshold, or score = threshold at a flat position up to `last`.

    >>> Cut(2.0, 1).mask(torch.tensor([2.0, 2.0, 2.0, 3.0]), lo=0)
    tensor([ True,  True, False,  True])
    """

    threshold: float
    last: int

    def ties(self, lo: int, hi: int) -> int:
        """How many entries of [lo, hi), from its start, are kept where they equal the threshold."""
        return min(max(self.last + 1 - lo, 0), hi - lo)

    def mask(self, score: Float[Tensor, " n"], lo: int) -> Bool[Tensor, " n"]:
        """True where the entries with these scores, from flat position `lo` on, are kept."""
        ties = self.ties(lo, lo + len(score))
        if ties in (0, len(score)):
            return self._beyond(score, equal=ties > 0)
        return torch.cat([self._beyond(score[:ties], equal=True), self._beyond(score[ties:], equal=False)])

    def _beyond(self, score: Tensor, equal: bool) -> Tensor:
        if float(np.float32(self.threshold)) != self.threshold:
            score = score.double()
        if score.device.type != "cpu":
            return score >= self.threshold if equal else score > self.threshold
        array = numbers(score)
        return torch.from_numpy(array >= self.threshold if equal else array > self.threshold)


def largest(read_score: Block, numel: int, k: int, name: str = "") -> Cut:
    """The cut that keeps exactly the k largest of `numel` scores; of equal scores the first by position.

    Args:
        read_score: flat entries [lo, hi) of the scores, float32 or float64, on any device. It is read about once.
        numel: how many there are.
        k: how many to keep, 0 to numel.
        name: the tensor's name, for the message.

    Raises:
        BadParameter: k is out of range.
        NonFinite: a score is NaN.

    >>> x = torch.tensor([1.0, 3.0, 2.0, 2.0])
    >>> largest(lambda lo, hi: x[lo:hi], 4, 2)
    Cut(threshold=2.0, last=2)
    """
    return largest_of([(read_score, numel)], k, (name,))[0]


def largest_of(tensors: Sequence[tuple[Block, int]], k: int, names: Sequence[str] = ()) -> list[Cut]:
    """As `largest`, for several tensors taken as one long one in this order: one cut for each.

    >>> x, y = torch.tensor([1.0, 3.0]), torch.tensor([3.0, 3.0])
    >>> largest_of([(lambda lo, hi: x[lo:hi], 2), (lambda lo, hi: y[lo:hi], 2)], 2)
    [Cut(threshold=3.0, last=1), Cut(threshold=3.0, last=0)]
    """
    sizes = [numel for _, numel in tensors]
    if not 0 <= k <= sum(sizes):
        raise BadParameter(f"k must be from 0 to {sum(sizes)}, the number of entries; found {k}.")
    if k == 0:
        return [Cut(inf, -1) for _ in tensors]
    if k == sum(sizes):
        return [Cut(-inf, numel - 1) for numel in sizes]
    return _Search(tensors, k, names or [""] * len(tensors)).cuts()


class _Search:
    """What is known while searching: the threshold lies in [low, high], `above` scores lie above that and `within` inside."""

    def __init__(self, tensors: Sequence[tuple[Block, int]], k: int, names: Sequence[str]) -> None:
        self.tensors, self.k, self.names = tensors, k, names
        self.low, self.high = -inf, inf
        self.above, self.within = 0, sum(numel for _, numel in tensors)
        self.most = min(max(_DIRECT, self.within // 16), 1 << 23)
        self.sample: NDArray = np.empty(0)
        self.dtype: np.dtype | None = None
        self.margin = _MARGIN
        if self.within > _DIRECT:
            runs = _runs(tensors, self.within)
            self.sample, self.dtype = np.sort(runs, axis=None), runs.dtype
            self.margin *= _clumping(runs, self.sample, k / self.within)

    def cuts(self) -> list[Cut]:
        """Pass over the data until a bracket holds the threshold and all of its scores were collected."""
        tried = None
        while True:
            tried = low, high = self._bracket(tried)
            found = self._pass(tried)
            above, inside = sum(t.above for t in found), sum(sum(t.inside) for t in found)
            if above >= self.k:
                self._missed(_after(high, self.dtype), self.high, self.above, above - self.above)
            elif above + inside < self.k:
                self._missed(self.low, -_after(-low, self.dtype), above + inside, self.above + self.within - above - inside)
            elif low == high:
                return self._placed(low, self.k - above, [t.inside for t in found])
            elif all(t.stride == 1 for t in found):
                return self._selected(found, self.k - above)
            else:
                self.low, self.high, self.above, self.within = low, high, above, inside
                self.sample, self.margin = np.sort(_pooled(found)), _MARGIN

    def _bracket(self, tried: tuple[float, float] | None) -> tuple[float, float]:
        """Where in [low, high] the threshold should lie; one value alone where the same bracket would come again."""
        if self.within <= self.most:
            return self.low, self.high
        sample = self.sample[np.searchsorted(self.sample, self.low) : np.searchsorted(self.sample, self.high, "right")]
        n = len(sample)
        if n == 0:
            return self.low, self.high
        share = (self.k - self.above) / self.within
        slack = self.margin * sqrt(n * share * (1 - share)) + 2
        top, middle, bottom = (int(n - share * n + step) for step in (slack, 0, -slack))
        bracket = (float(sample[bottom]) if bottom >= 0 else self.low, float(sample[top]) if top < n else self.high)
        alone = float(sample[min(middle, n - 1)])
        return bracket if bracket != tried else (alone, alone)

    def _pass(self, bracket: tuple[float, float]) -> list[Tally]:
        places = range(len(self.tensors))
        return [self._tally(0, bracket)] if len(places) == 1 else list(current().map(lambda place: self._tally(place, bracket), places))

    def _tally(self, place: int, bracket: tuple[float, float]) -> Tally:
        read, numel = self.tensors[place]
        most = self.most if self.within <= self.most else self.most * numel // sum(numel for _, numel in self.tensors)
        return tally(read, numel, bracket, most, self.names[place], self.dtype)

    def _missed(self, low: float, high: float, above: int, within: int) -> None:
        self.low, self.high, self.above, self.within = low, high, above, within
        self.margin *= 4

    def _selected(self, found: list[Tally], rank: int) -> list[Cut]:
        """The threshold is the rank-th largest of all that was collected."""
        pool = _pooled(found)
        threshold = _ranked(pool, len(pool) - rank)
        ties = rank - int(np.count_nonzero(pool > threshold))
        return self._placed(float(threshold), ties, [[int(np.count_nonzero(part == threshold)) for part in t.pool] for t in found])

    def _placed(self, threshold: float, ties: int, counts: list[list[int]]) -> list[Cut]:
        """Keep the first `ties` entries that equal the threshold; `counts` says how many each block of each tensor holds."""
        cuts = []
        for (read, numel), blocks in zip(self.tensors, counts, strict=True):
            here = min(ties, sum(blocks))
            ties -= here
            cuts.append(Cut(threshold, _position(read, numel, threshold, here, blocks)))
        return cuts


def _ranked(pool: NDArray, at: int) -> np.floating:
    """The value at position `at` in ascending order, in the dtype of the pool.

    Histograms find the few values around it. numpy's partition alone takes six times as long where many values are equal, as
    differences of half precision are.
    """
    while len(pool) > _DIRECT and 0 < (width := float(pool.max()) - float(pool.min())) < inf:
        bins = ((pool - pool.min()) * pool.dtype.type(_BINS / width)).astype(np.int32)
        until = np.cumsum(np.bincount(bins))
        mine = int(np.searchsorted(until, at, "right"))
        pool, at = pool[bins == mine], at - int(until[mine - 1] if mine else 0)
    return np.sort(pool)[at]


def _position(read: Block, numel: int, threshold: float, tie: int, blocks: list[int]) -> int:
    """The flat position of the tie-th entry that equals the threshold; the end where it is the last of them."""
    if tie == 0:
        return -1
    if tie == sum(blocks):
        return numel - 1
    before = list(accumulate(blocks, initial=0))
    block = bisect_right(before, tie - 1) - 1
    lo = block * BLOCK
    scores = numbers(read(lo, min(lo + BLOCK, numel)))
    return lo + int(np.flatnonzero(scores == threshold)[tie - 1 - before[block]])


def _runs(tensors: Sequence[tuple[Block, int]], total: int) -> NDArray:
    """A sample: a short run of entries at a scattered place of every equal part of the whole; one row a run."""
    count = min(max(total // BLOCK, _FEWEST), _MOST)
    starts = [int((i + i * _GOLDEN % 1) * (total - _RUN) / count) for i in range(count)]
    first = list(accumulate((numel for _, numel in tensors), initial=0))
    runs = []
    for start in starts:
        index = bisect_right(first, start) - 1
        read, numel = tensors[index]
        lo = max(min(start - first[index], numel - _RUN), 0)
        runs.append(np.resize(numbers(read(lo, min(lo + _RUN, numel))), _RUN))
    return np.stack(runs)


def _clumping(runs: NDArray, sample: NDArray, share: float) -> float:
    """How much less the sample says than as many entries drawn alone would: neighbours resemble each other."""
    threshold = sample[min(int((1 - share) * runs.size), runs.size - 1)]
    alone = sqrt(share * (1 - share) / runs.size)
    return max(1.0, float((runs > threshold).mean(1).std()) / sqrt(len(runs)) / max(alone, 1e-9))


def _pooled(found: list[Tally]) -> NDArray:
    """All that was collected, at one stride."""
    stride = max(t.stride for t in found)
    return np.concatenate([part[:: stride // t.stride] for t in found for part in t.pool])


def _after(value: float, dtype: np.dtype | None) -> float:
    """The next larger number of that dtype."""
    return float(np.nextafter(np.asarray(value, dtype), np.asarray(inf, dtype)))
