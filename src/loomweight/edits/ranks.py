"""Ranks of entries within their rows; equal values share the mean of their ranks, which no order of sorting can change.

A histogram of each row says of most entries what they rank about, or, where all entries of a bin are equal, exactly. That costs
half of sorting the row; only what it does not settle is counted or sorted.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# R rows, C columns, B bins of a row

_REACH = 4.5  # of the mean of a row, up to which bins are equal; the rest is in the last one
_MOST = 1 << 22  # bins at once: their numbers are worked out in float32
_EXACT = 1 << 23  # half a rank is exact in float32 below it
_FEW = 4  # entries of a row that are counted alone before sorting all rows is quicker


@dataclass(frozen=True)
class Bins:
    """Entries in bins, and the ranks that may occur in each: one alone where the bin's entries are equal.

    Args:
        of: the bin of each entry, flat.
        low: the least rank in each bin.
        high: the largest.
    """

    of: Tensor
    low: Tensor
    high: Tensor


def binned(values_RC: NDArray) -> Bins:
    """Every row's entries, at least 0, in bins, larger ones never in lower bins.

    >>> values = np.array([[0.0, 1.0, 1.0, 9.0]])
    >>> bins = binned(values)
    >>> bins.low[bins.of], midranks(values), bins.high[bins.of]
    (tensor([0., 0., 0., 3.]), array([[0. , 1.5, 1.5, 3. ]]), tensor([2., 2., 2., 3.]))
    """
    rows, columns = values_RC.shape
    of, each = _numbered(torch.from_numpy(values_RC))
    counts = torch.zeros(rows * each, dtype=torch.int32).scatter_add_(0, of, torch.ones(len(of), dtype=torch.int32))
    number = torch.float32 if values_RC.size <= _EXACT else torch.float64
    high = torch.cumsum(counts, 0, dtype=torch.int32).to(number).reshape(rows, each)
    high.sub_(torch.arange(1, rows * columns + 1, columns, dtype=number)[:, None])
    others = counts.to(number).sub_(1)
    low = high.reshape(-1) - others
    half = others.mul_(_alike(torch.from_numpy(values_RC).reshape(-1), of, rows * each)).mul_(0.5)
    return Bins(of, low.add_(half), high.reshape(-1).sub_(half))


def _numbered(values_RC: Tensor) -> tuple[Tensor, int]:
    """The number of each entry's bin, flat, and how many bins a row has; one where a row holds NaN or Inf."""
    rows, columns = values_RC.shape
    each = max(min(columns // 2, _MOST // rows), 1)
    means_R1 = values_RC.mean(1, keepdim=True, dtype=torch.float32)
    if not torch.isfinite(means_R1).all():
        return torch.arange(rows).repeat_interleave(columns), 1
    scales_R1 = torch.where(means_R1 > 0, each / _REACH / means_R1, 0.0).clamp_(max=torch.finfo(torch.float32).max)
    scaled_RC = (values_RC * scales_R1).clamp_(max=each - 0.5).add_(torch.arange(0, rows * each, each)[:, None])
    return scaled_RC.int().long().reshape(-1), each


def _alike(values: Tensor, of: Tensor, count: int) -> Tensor:
    """1 for each of `count` bins that holds equal values only, else 0: their bits, as integers, have one least and one largest value."""
    bits = values.view(torch.int64 if values.dtype == torch.float64 else torch.int32)
    lowest = torch.iinfo(bits.dtype).min
    most, least = (torch.full((count,), lowest, dtype=bits.dtype).scatter_reduce_(0, of, each, "amax") for each in (bits, ~bits))
    return 1 - (most - least.bitwise_not_()).clamp_(max=1)  # integers: torch is slow on bool; an empty bin may say anything


def midranks(values_RC: NDArray) -> NDArray[np.float64]:
    """The rank of every value in its row, 0 for the smallest.

    >>> midranks(np.array([[5.0, 1.0, 5.0]]))
    array([[1.5, 0. , 1.5]])
    """
    order_RC = np.argsort(values_RC, axis=1)
    sorted_RC = np.take_along_axis(values_RC, order_RC, 1)
    places = np.arange(values_RC.shape[1])
    starts_RC = np.ones(values_RC.shape, bool)
    starts_RC[:, 1:] = sorted_RC[:, 1:] != sorted_RC[:, :-1]
    ends_RC = np.roll(starts_RC, -1, axis=1)
    first_RC = np.maximum.accumulate(np.where(starts_RC, places, 0), axis=1)
    last_RC = np.minimum.accumulate(np.where(ends_RC, places, len(places))[:, ::-1], axis=1)[:, ::-1]
    ranks_RC = np.empty(values_RC.shape)
    np.put_along_axis(ranks_RC, order_RC, (first_RC + last_RC) / 2, 1)
    return ranks_RC


def outrank(values_RC: NDArray, at: NDArray[np.intp], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the rank of each value at the flat places `at` is above its limit, which is at least 0 and less than C - 1.

    >>> outrank(np.array([[5.0, 1.0, 5.0]]), np.array([0, 1]), np.array([1.4, 0.0]))
    array([ True, False])
    """
    rows, columns = values_RC.shape
    if len(at) > _FEW * rows:
        return _outrank_sorted(values_RC, at, limits)
    above = np.empty(len(at), np.bool_)
    for lo in range(0, len(at), step := max(1, (1 << 17) // columns)):
        part = at[lo : lo + step]
        others, own = values_RC[part // columns], values_RC.reshape(-1)[part][:, None]
        twice = np.count_nonzero(others < own, axis=1) + np.count_nonzero(others <= own, axis=1) - 1
        above[lo : lo + step] = twice > 2 * limits[lo : lo + step]
    return above


def _outrank_sorted(values_RC: NDArray, at: NDArray[np.intp], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """With j = floor(limit), a value that stands alone outranks its limit when it is at least the value of rank j + 1. Only ties are looked up."""
    columns = values_RC.shape[1]
    sorted_ = np.sort(values_RC, axis=1).reshape(-1)
    values = values_RC.reshape(-1)[at]
    after = at // columns * columns + limits.astype(np.intp) + 1
    level = sorted_[after]
    above = values >= level
    tied = np.flatnonzero((values == level) & (values != 0))
    tied = tied[(sorted_[after[tied] - 1] == level[tied]) | (sorted_[np.minimum(after[tied] + 1, (at[tied] // columns + 1) * columns - 1)] == level[tied])]
    if len(tied):
        start = at[tied] // columns * columns
        first, last = (_places(sorted_, start, columns, values[tied], right) for right in (False, True))
        above[tied] = (first + last - 1) / 2 > limits[tied]
    return above


def _places(sorted_: NDArray, start: NDArray[np.intp], columns: int, values: NDArray, right: bool) -> NDArray[np.intp]:
    """For each value the number of entries below it (or, `right`, not above it) in the sorted row that begins at `start`."""
    low, high = np.zeros(len(values), np.intp), np.full(len(values), columns, np.intp)
    for _ in range(columns.bit_length()):
        middle = (low + high) // 2
        found = sorted_[np.minimum(start + middle, len(sorted_) - 1)]
        up = ((found <= values) if right else (found < values)) & (middle < high)
        low, high = np.where(up, middle + 1, low), np.where(up, high, middle)
    return low
