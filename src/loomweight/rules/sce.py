"""SCE: select what varies, weight models by energy, erase minority signs.

Paper: FuseChat: Knowledge Fusion of Chat Models (2024, https://arxiv.org/abs/2408.07990), section 3.3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..edits import Cut, largest
from ..errors import BadParameter
from ..shapes import Float
from ..weights import Block
from ..weights.spec import spans
from .agreement import Tie, agreeing, elected
from .rule import Opener, Rule
from .sets import Sets

# N = sets, P = entries of a block


@dataclass(frozen=True)
class SCE(Rule):
    """On differences d_i, tensor by tensor.

    Select: of the entries whose variance over the sets is not 0, keep the `select` largest, k = floor(select * their number),
    ties by position. Calculate: a_i = sum_p d_ip^2 over the kept entries, normalised to sum 1 (equal where all are 0). Erase:
    the a-weighted mean of the kept entries with the elected sign, which is that of the unweighted sum.

    Breakdown point 0.

    Args:
        select: part of the entries that is kept, in [0, 1].
        tie: where the sum is exactly 0, as of `ElectSign`; "positive" is mergekit's.

    >>> import loomweight as lw
    >>> sets = [{"w": torch.tensor([3.0, 1.0, 1.0])}, {"w": torch.tensor([-1.0, 1.0, 0.0])}]
    >>> lw.combine(sets, SCE(select=0.5))["w"].round(decimals=4) + 0  # of the two that vary the first is kept, and + elected
    tensor([3., 0., 0.])
    """

    select: float = 1.0
    tie: Tie = "zero"

    def __post_init__(self) -> None:
        if not 0 <= self.select <= 1:
            raise BadParameter(f"SCE: select must lie in [0, 1], found {self.select}.")

    def bind(self, sets: Sets) -> Opener:
        """Two passes to open a tensor (one where everything is kept): the variances' threshold, then the energies."""
        self.check(len(sets))
        sets.refuse_mask(self)

        def open_(name: str) -> Block:
            stack, numel = sets.open(name), sets.spec(name).numel
            cut = self._cut(lambda lo, hi: _variance(stack(lo, hi)), numel)

            def kept(lo: int, hi: int) -> Float[Tensor, "n p"]:
                rows = stack(lo, hi)
                return rows if cut is None else rows.mul_(cut.mask(_variance(rows), lo))

            energy = sum((kept(lo, hi).square_().sum(1, dtype=torch.float64) for lo, hi in spans(numel)), torch.zeros(len(sets), dtype=torch.float64))
            weights = (energy / energy.sum() if energy.sum() > 0 else torch.full_like(energy, 1 / len(sets))).tolist()
            return lambda lo, hi: _erased(kept(lo, hi), weights, self.tie)

        return open_

    def _cut(self, variance: Block, numel: int) -> Cut | None:
        if self.select == 1:
            return None
        varying = sum(int(torch.count_nonzero(variance(lo, hi))) for lo, hi in spans(numel))
        return largest(variance, numel, int(self.select * varying))


def _variance(rows: Float[Tensor, "n p"]) -> Float[Tensor, " p"]:
    mean = rows.mean(0)
    total = torch.zeros_like(mean)
    for row in rows:
        deviation = row - mean
        total.addcmul_(deviation, deviation)
    return total.div_(len(rows))


def _erased(rows: Float[Tensor, "n p"], weights: list[float], tie: Tie) -> Float[Tensor, " p"]:
    """Weighted mean of the rows that have the sign of their unweighted sum."""
    return agreeing(list(rows), weights, elected(rows.sum(0), tie), normalize=True)
