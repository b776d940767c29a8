"""Bulyan: many sets chosen by Krum, then entry by entry the mean of the values nearest to their median.

Paper: The Hidden Vulnerability of Distributed Learning in Byzantium (2018, https://arxiv.org/abs/1802.07927), section 4.
Other code of that name, read to tell the definitions apart: https://github.com/LPD-EPFL/ByzantineMomentum at 0a8d3da (the 2018
authors' group) chooses n - 2 f - 2 means of sets instead of n - 2 f sets and sums distances that are not squared.
We differ: where Krum has no neighbour left to sum (the last steps for f <= 1), it looks at one; of an even number the median is the mean
of the middle two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..shapes import Float
from ..weights.gram import gram
from .around_median import near_the_median
from .geometry import Matrix, squared_distances, tolerates
from .krum import best_first, summed
from .rowwise import Rowwise
from .rule import Opener, Rule
from .sets import Sets


@dataclass(frozen=True)
class Bulyan(Rule):
    """Choose n - 2 f sets by Krum, one after the other; then for each entry the mean of the n - 4 f values nearest to their median.

    A step of the choice takes the set whose sum of its m - f - 2 smallest squared distances to the other m - 1 sets that are left is
    the smallest (at least one distance is looked at), and takes it out. Equal sums are compared with one neighbour more, and so on. All
    distances are from one Gram matrix: the sets are read once for the choice and those chosen once more.

    Bound: n >= 4 f + 3. At least n - 3 f of the n - 2 f chosen sets are good, so for each entry the median and the values nearest to it lie
    within the range of the good values of that entry, or beyond by no more than that range. Breakdown point (n - 3) / 4 sets.

    Args:
        f: how many sets may be bad.

    Raises:
        TooFewSets: n < 4 f + 3.

    >>> import torch
    >>> from loomweight.rules import combine
    >>> sets = [{"w": torch.tensor([x])} for x in (1.0, 1.5, 2.0, 2.5, 3.0, 3.7, 99.0)]
    >>> combine(sets, Bulyan(f=1))["w"]  # 2, 2.5, 1.5, 3, 3.7 are chosen; 2, 2.5, 3 averaged
    tensor([2.5000])
    """

    f: int = 0

    def check(self, n: int) -> None:
        """Raise unless n >= 4 f + 3."""
        super().check(n)
        tolerates(self, n, self.f, 4 * self.f + 3, "n >= 4 f + 3")

    def bind(self, sets: Sets) -> Opener:
        """Read all sets once for the choice; the result reads the chosen ones a second time."""
        self.check(len(sets))
        sets.refuse_mask(self)
        picked = chosen(squared_distances(gram(sets.members).numpy()), self.f)
        return _Nearest(len(sets) - 4 * self.f).bind(Sets(tuple(sets[i] for i in picked)))


@dataclass(frozen=True)
class _Nearest(Rowwise):
    """The mean of the `keep` values nearest to the median."""

    keep: int

    takes_halves = True

    def combined(self, rows: Sequence[Float[Tensor, " p"]]) -> Float[Tensor, " p"]:
        return near_the_median(rows, self.keep)


def chosen(distances: Matrix, f: int) -> list[int]:
    """The n - 2 f sets, in the order in which Krum takes them."""
    left, picked = list(range(len(distances))), []
    while len(left) > max(1, 2 * f):
        table = summed(distances[np.ix_(left, left)], max(1, len(left) - f - 2))
        picked.append(left.pop(int(best_first(table)[0])))
    return picked if f else picked + left
