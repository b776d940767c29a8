"""Krum: the set that lies closest to its neighbours.

Paper: Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent
(2017, https://proceedings.neurips.cc/paper/2017/hash/f4b9ec30ad9f68f89b29639786cb62ef-Abstract.html), section 4.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float64
from .geometry import Matrix, squared_distances, tolerates
from .rule import Weighing

#: sums of distances that differ by less than this part of them are equal
EQUAL = 1e-9


@dataclass(frozen=True)
class Krum(Weighing):
    """The set that lies closest to its neighbours.

    It has the smallest score: the sum of its n - f - 2 smallest squared distances to other sets.

    This is the paper's score. Other libraries call other rules Krum: some take n - f - 1 neighbours, which `neighbours` allows, some
    sum distances that are not squared, and they pick other sets. Equal scores are compared with one neighbour more, and so on; then the
    first set wins.

    Bound: n >= 2 f + 3. Whatever f sets hold, the result is one of the n - f good sets or lies within
    sqrt((n - f - 2) / (n - 2 f - 1)) of the good sets' diameter from one of them; so the breakdown point is (n - 3) / 2 sets.

    Args:
        f: how many sets may be bad.
        neighbours: how many distances a score sums; None is n - f - 2. Sets that are dropped lower n and f alike, so the number stays right.

    Raises:
        TooFewSets: n < 2 f + 3.
        BadParameter: neighbours outside [1, n - 1].

    >>> from loomweight.rules import combine
    >>> sets = [{"w": torch.tensor([x])} for x in (1.0, 1.1, 1.3, 1.6, 99.0)]
    >>> combine(sets, Krum(f=1))["w"]
    tensor([1.1000])
    """

    f: int = 0
    neighbours: int | None = None

    def check(self, n: int) -> None:
        """Raise unless n >= 2 f + 3 and there are so many neighbours."""
        super().check(n)
        tolerates(self, n, self.f, 2 * self.f + 3, "n >= 2 f + 3")
        refuse_too_many(self, self.neighbours, n)

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """1 for the chosen set."""
        chosen = torch.zeros(len(gram), dtype=torch.float64)
        chosen[best_first(scores(gram, self.f, self.neighbours))[0]] = 1
        return chosen


def scores(gram: Float64[Tensor, "n n"], f: int, neighbours: int | None = None) -> Matrix:
    """The score of each set, and behind it the scores with one neighbour more, two more, ..., to tell equal ones apart."""
    return summed(squared_distances(gram.numpy()), neighbours or len(gram) - f - 2)


def summed(distances: Matrix, neighbours: int) -> Matrix:
    """For each set the sum of so many smallest distances to others, of one more, ..., of all."""
    nearest_first = np.sort(distances, axis=1)[:, 1:]
    return np.cumsum(nearest_first, axis=1)[:, neighbours - 1 :]


def best_first(table: Matrix) -> NDArray[np.intp]:
    """The sets by their rows of `summed`, smallest first; sums that differ by rounding alone count as equal."""
    order = np.argsort(table, axis=0, kind="stable")
    ascending = np.take_along_axis(table, order, axis=0)
    larger = np.diff(ascending, axis=0, prepend=ascending[:1]) > EQUAL * ascending
    ranks = np.empty(table.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.cumsum(larger, axis=0), axis=0)
    return np.lexsort(ranks.T[::-1])


def refuse_too_many(rule: object, neighbours: int | None, n: int) -> None:
    """Raise for a number of neighbours that n sets do not have."""
    if neighbours is not None and not 1 <= neighbours < n:
        raise BadParameter(f"{rule}: neighbours must lie in [1, n - 1] = [1, {n - 1}] for {n} sets.")
