"""Ranks of entries within their rows; equal values share the mean of their ranks, which no order of sorting can change."""

import numpy as np
from numpy.typing import NDArray

# R rows, C columns


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

    Values are sorted, but not ranked: with j = floor(limit), a value that stands alone outranks its limit when it is at least
    the value of rank j + 1. Only ties are looked up.

    >>> outrank(np.array([[5.0, 1.0, 5.0]]), np.array([0, 1]), np.array([1.4, 0.0]))
    array([ True, False])
    """
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
