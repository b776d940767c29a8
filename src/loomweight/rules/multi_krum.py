"""Multi-Krum: the mean of the sets with the best Krum scores.

Papers: Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent
(2017, https://proceedings.neurips.cc/paper/2017/hash/f4b9ec30ad9f68f89b29639786cb62ef-Abstract.html), section 4; Byzantine
Machine Learning: MultiKrum and an optimal notion of robustness (2026, https://arxiv.org/abs/2602.03899), which proves it robust.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float64
from .geometry import refuse_negative, tolerates
from .krum import EQUAL, best_first, refuse_too_many, scores
from .rule import Weighing


@dataclass(frozen=True)
class MultiKrum(Weighing):
    """The mean of the sets with the best Krum scores.

    sum_i a_i w_i / sum_i a_i over the m sets with the smallest scores (`Krum` says which score).

    Bound: n >= 2 f + 3. For m <= n - f every chosen set lies as close to a good one as Krum's choice does, so the result lies
    that close to their hull: breakdown point (n - 3) / 2 sets. m = 1 is Krum. Sets with equal scores that
    compete for the last places share them.

    Args:
        f: how many sets may be bad.
        m: how many are averaged, from 1 to n - f; None is n - f.
        weights: a_i, of those that are chosen (sample counts); the choice itself does not look at them, and where all chosen have 0
            they count alike. None is 1 for each.
        neighbours: how many distances a score sums; None is n - f - 2, as for `Krum`. n - f - 1 keeps sets out that agree among themselves
            and lie a little farther off.

    Raises:
        TooFewSets: n < 2 f + 3.
        BadParameter: m outside [1, n - f], neighbours outside [1, n - 1], or weights that are negative.

    >>> from loomweight.rules import combine
    >>> sets = [{"w": torch.tensor([x])} for x in (1.0, 1.5, 2.0, 2.5, 99.0)]
    >>> combine(sets, MultiKrum(f=1))["w"]
    tensor([1.7500])
    """

    f: int = 0
    m: int | None = None
    weights: tuple[float, ...] | None = None
    neighbours: int | None = None

    def check(self, n: int) -> None:
        """Raise unless n >= 2 f + 3 and m lies in [1, n - f]."""
        super().check(n)
        tolerates(self, n, self.f, 2 * self.f + 3, "n >= 2 f + 3")
        refuse_negative(self, self.weights)
        refuse_too_many(self, self.neighbours, n)
        if self.m is not None and not 1 <= self.m <= n - self.f:
            raise BadParameter(f"{self}: m must lie in [1, n - f] = [1, {n - self.f}] for {n} sets.")

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """Equal for the chosen sets, or in the ratio of their weights; 0 for the others."""
        m = self.m or len(gram) - self.f
        table = scores(gram, self.f, self.neighbours)
        order = best_first(table)
        equal = np.isclose(table, table[order[m - 1]], rtol=EQUAL, atol=0).all(1)
        chosen = np.zeros(len(gram))
        chosen[order[:m]] = 1
        chosen[equal] = chosen[equal].mean()
        given = chosen * np.asarray(self.weights or (1.0,) * len(gram))
        kept = given if given.any() else chosen
        return torch.from_numpy(kept / kept.sum())
