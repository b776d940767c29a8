"""Minimum diameter averaging (MDA): the mean of the n - f sets that lie closest together.

Paper: Genuinely Distributed Byzantine Machine Learning (2020, https://doi.org/10.1145/3382734.3405695), section 3.1.
Other code, read for the definition: https://github.com/LPD-EPFL/ByzantineMomentum at 0a8d3da (aggregators/brute.py), byzfl 0.0.11.
We differ: no list of all subsets is made. A subset has a diameter of at most D where the sets left out touch every pair that is farther
apart than D; so D is found by bisection over the distances, and whether f sets are enough for it by a bounded search tree. And of
several subsets with the smallest diameter, which is the rule and not the exception, the tightest is taken, not the first.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float64
from .covers import Covers, Graph, TooManySteps
from .geometry import Matrix, squared_distances, tolerates
from .rule import Weighing

_EQUAL = 1e-9  # relative
#: steps of the search tree: some seconds
_LIMIT = 100_000


@dataclass(frozen=True)
class MinimumDiameter(Weighing):
    """The mean of the n - f sets whose two farthest apart are nearest to each other.

    Of subsets with the same diameter the one with the smallest sum of squared distances is taken; those that are equal there too share.
    Where more than n - f sets fit into the smallest diameter, all of them are averaged.

    Bound: n > 2 f. Every set that is averaged lies within the good sets' diameter of every good one that is averaged, of which there are
    n - 2 f at least; so the result does. Breakdown point (n - 1) / 2 sets.

    Args:
        f: how many sets may be bad.

    Raises:
        TooFewSets: n <= 2 f.
        BadParameter: the exact search would take too long: f is large and distances do not tell good sets from bad.

    >>> from loomweight.rules import combine
    >>> sets = [{"w": torch.tensor([x])} for x in (1.0, 2.0, 3.0, 3.5, 99.0)]
    >>> combine(sets, MinimumDiameter(f=2))["w"]  # 2, 3 and 3.5
    tensor([2.8333])
    """

    f: int = 0

    def check(self, n: int) -> None:
        """Raise unless n > 2 f."""
        super().check(n)
        tolerates(self, n, self.f, 2 * self.f + 1, "n > 2 f")

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """Equal for the sets of the subset; 0 for the others."""
        distances = squared_distances(gram.numpy())
        try:
            subsets = _smallest(distances, self.f)
        except TooManySteps:
            raise BadParameter(
                f"{self}: among {len(gram)} sets the subset of the smallest diameter was not found in {_LIMIT:,} steps; lower f, or use a rule"
                " that needs no search (MultiKrum, or NearestNeighbourMixing before another rule)."
            ) from None
        spreads = np.array([distances[np.ix_(kept, kept)].sum() for kept in subsets])
        shares = np.zeros(len(gram))
        tightest = [kept for kept, spread in zip(subsets, spreads, strict=True) if spread <= spreads.min() * (1 + _EQUAL)]
        for kept in tightest:
            shares[kept] += 1 / len(kept) / len(tightest)
        return torch.from_numpy(shares)


def _smallest(distances: Matrix, f: int) -> list[list[int]]:
    """The subsets of the smallest diameter, each as large as can be."""
    search, sizes = Covers(_LIMIT), np.unique(distances)
    low, high = 0, len(sizes) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if search.smaller(_beyond(distances, sizes[middle]), f) else (middle + 1, high)
    covers = set(search.all(_beyond(distances, sizes[low]), f))
    fewest = min(map(len, covers))
    return [[i for i in range(len(distances)) if i not in cover] for cover in covers if len(cover) == fewest]


def _beyond(distances: Matrix, diameter: float) -> Graph:
    """The pairs that are farther apart."""
    far = distances > diameter * (1 + _EQUAL)
    return {i: set(np.flatnonzero(row).tolist()) for i, row in enumerate(far) if row.any()}
