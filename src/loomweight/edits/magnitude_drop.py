"""Drop entries at random, small ones more often.

Paper: DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling (2024,
https://arxiv.org/abs/2406.11617), the step MagPrune. Original code: https://github.com/declare-lab/della.
"""

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float
from ..weights import Block, Spec
from .choice import Choice, choose
from .draws import Draws
from .edit import Edit
from .only import only
from .ranges import within
from .ranks import levels, midranks, outrank
from .rows import by_rows, width
from .tally import numbers

_WIDE = 256  # columns from which on a table of steps is smaller than the row


@dataclass(frozen=True)
class MagnitudeDrop(Edit):
    """x -> m x / p with m = 1 with probability p = density - epsilon + 2 epsilon r / (c - 1), else 0: the expectation is x.

    r is the rank of |x| in its row of c entries, 0 for the smallest; equal magnitudes share the mean of their ranks, so that
    the mean of p over a row is `density` whatever the values. A row is what belongs to one index of the first axis; a vector
    is one row; p = density where a row has one entry.

    The authors' code orders equal magnitudes arbitrarily and divides by p, as here. mergekit draws with the same p, but
    rescales so that the sum of magnitudes stays what it was, KeepNorm(MagnitudeDrop(density, epsilon, rescale=False)), and
    ranks along the second axis where a tensor has more than two.

    Args:
        density: the mean probability of being kept, from 0 to 1; 1 keeps all, whatever epsilon is.
        epsilon: half the range of p; density - epsilon and density + epsilon must be from 0 to 1.
        rescale: divide by p.
        seed: other seeds draw other entries. Two random edits in a row need two seeds.
        stream: the number of the set among several; `on_stream` sets it.

    Raises:
        BadParameter: density or a probability is not from 0 to 1.

    >>> MagnitudeDrop(0.5, 0.5, rescale=False).apply(torch.tensor([3.0, 1.0]), "w")
    tensor([3., 0.])
    """

    density: float
    epsilon: float = 0.1
    rescale: bool = True
    seed: int = 0
    stream: int = 0

    def __post_init__(self) -> None:
        within(self, "density", 0, 1)
        within(self, "epsilon", 0, 0.5)
        low, high = self._range
        if 0 < self.density < 1 and (low < -1e-12 or high > 1 + 1e-12):
            raise BadParameter(f"MagnitudeDrop: density - epsilon and density + epsilon must be from 0 to 1, found {low:g} and {high:g}.")

    def on_stream(self, stream: int) -> Self:
        """Draw other numbers for the `stream`-th of several sets."""
        return replace(self, stream=stream)

    @property
    def _range(self) -> tuple[float, float]:
        return self.density - self.epsilon, self.density + self.epsilon

    def choice(self, name: str, spec: Spec) -> Choice | None:
        """The draws, without `rescale`; rows are told apart where they are ranked."""
        if self.rescale or self.density in (0, 1):
            return None
        draws, columns = self._draws(name, spec), width(spec)
        if self.epsilon == 0 or columns == 1:
            return Choice(lambda sizes, first: draws.below(self.density, first, first + len(sizes)))
        return Choice(lambda sizes, first: self._kept(numbers(sizes).reshape(-1, columns), draws, first), columns)

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """With `rescale`, rank rows when they are read; without, draw the mask now and keep one bit an entry."""
        if self.density == 1 or not spec.numel:
            return read
        if self.density == 0:
            return lambda lo, hi: torch.zeros_like(read(lo, hi))
        if choice := self.choice(name, spec):
            return choose(choice, read, spec.numel).of(read)
        draws = self._draws(name, spec)
        return by_rows(read, width(spec), lambda rows, first: self._rescaled(rows, draws, first))

    def _draws(self, name: str, spec: Spec) -> Draws:
        return Draws(("MagnitudeDrop", self.seed, self.stream, name), spec.numel)

    def _rescaled(self, rows: Float[Tensor, "r c"], draws: Draws, first: int) -> Float[Tensor, "r c"]:
        columns = rows.shape[1]
        share = midranks(numbers(rows.abs())) / (columns - 1) if columns > 1 else np.full(rows.shape, 0.5)
        low, high = self._range
        p = (low + (high - low) * share).reshape(-1)
        below, at, u = draws.between(low, high, first * columns, first * columns + rows.numel())
        below[at] = (u - low) / (high - low) < share.reshape(-1)[at]
        kept = only(rows.reshape(-1), torch.from_numpy(below))
        return (kept / torch.from_numpy(np.where(p > 0, p, 1)).to(kept)).reshape(rows.shape)

    def _kept(self, rows: NDArray, draws: Draws, first: int) -> NDArray[np.bool_]:
        """Which entries of these rows are kept: by the first bits of u, where those tell; else by all bits and the rank."""
        low, high = self._range
        step = (high - low) / (rows.shape[1] - 1)
        sorted_, leading = np.sort(rows, axis=1), draws.leading(first, first + rows.size)
        sure, until = max(floor(256 * low), 0), min(ceil(256 * high), 256)
        if rows.shape[1] < _WIDE:
            kept, at = leading < sure, np.flatnonzero((leading >= sure) & (leading < until))
        else:
            steps = np.arange(sure, until + 1)
            kept, at = _told(rows, leading, steps, levels(sorted_, (steps / 256 - low) / step))
        at = at[rows.reshape(-1)[at] != 0]
        kept[at] = outrank(rows, at, (draws.whole(leading, first, at) - low) / step, sorted_)
        return kept


def _told(rows: NDArray, leading: NDArray[np.uint8], steps: NDArray[np.intp], values_RS: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which entries are kept as far as floor(256 u) tells, and where it does not.

    Where 256 u is one of the steps, an entry above its row's value for that step is kept and one below is not; before the first
    step all are kept, after the last none. An entry that lies between what two steps say is not told.
    """
    before, after = int(steps[0]) - 2, int(steps[-1]) + 1
    table = np.full((len(rows), len(steps) + 4), np.inf, rows.dtype)
    table[:, :2] = -1
    table[:, 2:-2] = values_RS
    at = np.minimum(np.maximum(leading, max(before, 0)), min(after, 255)).astype(np.int32).reshape(rows.shape)
    at += (np.arange(len(rows), dtype=np.int32) * table.shape[1] + (1 - before))[:, None]
    entries, flat, places = rows.reshape(-1), torch.from_numpy(table.reshape(-1)), torch.from_numpy(at.reshape(-1))
    kept = entries > flat.index_select(0, places).numpy()
    at -= 1
    return kept, np.flatnonzero((entries >= flat.index_select(0, places).numpy()) != kept)
