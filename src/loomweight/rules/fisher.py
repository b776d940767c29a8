"""Fisher merging: every entry weighted by how much its model knows about it.

Paper: Merging Models with Fisher-Weighted Averaging (2021, https://arxiv.org/abs/2111.09832), equation 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..errors import BadParameter
from ..weights import Block, Weights
from .mix import mixed
from .proof import known, match, opened
from .rule import Opener, Rule
from .sets import Sets


@dataclass(frozen=True)
class Fisher(Rule):
    """sum_i a_i F_i w_i / sum_i a_i F_i, entry by entry.

    Computed as w_0 + sum_i a_i F_i (w_i - w_0) / sum_i a_i F_i, so equal sets come back unchanged. Equal evidence gives the
    weighted mean. Breakdown point 0.

    Args:
        evidence: F_i, the diagonal Fisher information of each model (`loomweight.evidence.fisher`), none negative.
        weights: a_i, one a set; None is 1 for each.
        floor: added to every F_i, so that an entry which no model knows about is averaged. The paper's code uses 1e-6.
        unknown: what happens to tensors that the evidence does not hold (buffers, frozen layers): "raise", or the "mean".

    Raises:
        BadParameter: evidence that is negative, or lacks tensors and `unknown` is "raise".
        NonFinite: evidence that holds NaN or Inf.

    >>> import loomweight as lw
    >>> sets = [{"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([3.0, 3.0])}]
    >>> knows = [lw.Weights.of({"w": torch.tensor(f)}) for f in ([1.0, 0.0], [1.0, 5.0])]
    >>> lw.combine(sets, Fisher(tuple(knows), floor=0.0))["w"]
    tensor([2., 3.])
    """

    evidence: tuple[Weights, ...]
    weights: tuple[float, ...] | None = None
    floor: float = 1e-6
    unknown: str = "raise"

    def check(self, n: int) -> None:
        """Raise unless there is evidence for each set and no weight or floor is negative."""
        super().check(n)
        match(self, self.evidence, n)
        if self.floor < 0 or min(self.weights or (1.0,)) < 0:
            raise BadParameter(f"{self}: floor and weights must not be negative.")

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """Evidence and weights follow the sets."""
        return replace(super().restricted(kept, n), evidence=tuple(self.evidence[i] for i in kept))

    def bind(self, sets: Sets) -> Opener:
        """Read sets and evidence side by side."""
        self.check(len(sets))
        sets.refuse_mask(self)
        proven = known(self, self.evidence, sets, self.unknown)
        factors = self.weights or (1.0,) * len(sets)
        average = mixed(sets, [factor / sum(factors) for factor in factors])

        def open_(name: str) -> Block:
            if name not in proven:
                return average(name)
            reads, facts = sets.reads(name), opened(self.evidence, name)

            def block(lo: int, hi: int) -> Tensor:
                first = reads[0](lo, hi)
                mass = (facts[0](lo, hi) + self.floor) * factors[0]
                moved = torch.zeros_like(first)
                for read, fact, factor in zip(reads[1:], facts[1:], factors[1:], strict=True):
                    weight = (fact(lo, hi) + self.floor) * factor
                    mass += weight
                    moved += weight * (read(lo, hi) - first)
                return first + torch.where(mass > 0, moved / mass, 0.0)

            return block

        return open_
