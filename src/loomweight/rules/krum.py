"""Krum: the set that lies closest to its neighbours.

Paper: Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent
(2017, https://proceedings.neurips.cc/paper/2017/hash/f4b9ec30ad9f68f89b29639786cb62ef-Abstract.html), section 4.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..shapes import Float64
from .geometry import Matrix, squared_distances, tolerates
from .rule import Weighing


@dataclass(frozen=True)
class Krum(Weighing):
    """The set that lies closest to its neighbours.

    It has the smallest score: the sum of its n - f - 2 smallest squared distances to other sets.

    This is the paper's score. Other libraries call other rules Krum: some take n - f - 1 neighbours, some sum distances that
    are not squared, and they pick other sets. Equal scores are compared with one neighbour more, and so on; then the
    first set wins.

    Bound: n >= 2 f + 3. Whatever f sets hold, the result is one of the n - f good sets or lies within
    sqrt((n - f - 2) / (n - 2 f - 1)) of the good sets' diameter from one of them; so the breakdown point is (n - 3) / 2 sets.

    Args:
        f: how many sets may be bad.

    Raises:
        TooFewSets: n < 2 f + 3.

    >>> from loomweight.rules import combine
    >>> sets = [{"w": torch.tensor([x])} for x in (1.0, 1.1, 1.3, 1.6, 99.0)]
    >>> combine(sets, Krum(f=1))["w"]
    tensor([1.1000])
    """

    f: int = 0

    def check(self, n: int) -> None:
        """Raise unless n >= 2 f + 3."""
        super().check(n)
        tolerates(self, n, self.f, 2 * self.f + 3, "n >= 2 f + 3")

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """1 for the chosen set."""
        chosen = torch.zeros(len(gram), dtype=torch.float64)
        chosen[np.lexsort(scores(gram, self.f).T[::-1])[0]] = 1
        return chosen


def scores(gram: Float64[Tensor, "n n"], f: int) -> Matrix:
    """The score of each set, and behind it the scores with one neighbour more, two more, ..., to tell equal ones apart."""
    nearest_first = np.sort(squared_distances(gram.numpy()), axis=1)[:, 1:]
    return np.cumsum(nearest_first, axis=1)[:, len(gram) - f - 3 :]
