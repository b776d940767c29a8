"""SCE: select what varies, weight models by energy, erase minority signs.

Paper: FuseChat: Knowledge Fusion of Chat Models (2024, https://arxiv.org/abs/2408.07990), section 3.3.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..edits import largest
from ..edits.tally import numbers
from ..errors import BadParameter
from ..shapes import Float
from ..weights import Block
from ..weights.held import held
from ..weights.spec import spans
from .agreement import Tie, agreeing, elected, mass
from .rule import Opener, Rule
from .sets import Sets

#: entries [lo, hi) of every set
Rows = Callable[[int, int], list[Tensor]]


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
        floor: weights are equal where the sets' mean squares sum to no more than this. mergekit has 1e-6, which most fine-tunes
            stay below; the authors' code has 0.

    >>> import loomweight as lw
    >>> sets = [{"w": torch.tensor([3.0, 1.0, 1.0])}, {"w": torch.tensor([-1.0, 1.0, 0.0])}]
    >>> lw.combine(sets, SCE(select=0.5))["w"].round(decimals=4) + 0  # of the two that vary the first is kept, and + elected
    tensor([3., 0., 0.])
    """

    select: float = 1.0
    tie: Tie = "zero"
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.select <= 1:
            raise BadParameter(f"SCE: select must lie in [0, 1], found {self.select}.")

    def bind(self, sets: Sets) -> Opener:
        """Opening a tensor takes a pass for the variances, their threshold, and a pass for the energies (that alone where all is kept)."""
        self.check(len(sets))
        sets.refuse_mask(self)

        def open_(name: str) -> Block:
            numel, reads = sets.spec(name).numel, sets.reads(name)

            def rows(lo: int, hi: int) -> list[Tensor]:
                return [read(lo, hi) for read in reads]

            kept = rows if self.select == 1 else self._selected(rows, numel)
            weights = self._weights(kept, numel, len(sets))

            def block(lo: int, hi: int) -> Tensor:
                parts = kept(lo, hi)
                return agreeing(parts, weights, elected(mass(parts, [1.0] * len(parts)), self.tie), normalize=True)

            return block

        return open_

    def _selected(self, rows: Rows, numel: int) -> Rows:
        """The rows, 0 where the variance is not among the largest."""
        variance = held(lambda lo, hi: _variance(rows(lo, hi)), numel)
        varying = sum(int(np.count_nonzero(numbers(variance(lo, hi)))) for lo, hi in spans(numel))
        cut = largest(variance, numel, int(self.select * varying))

        def block(lo: int, hi: int) -> list[Tensor]:
            score = variance(lo, hi)
            chosen = cut.mask(score, lo).to(score.dtype)
            return [row * chosen for row in rows(lo, hi)]

        return block

    def _weights(self, rows: Rows, numel: int, n: int) -> list[float]:
        energy = [0.0] * n
        for lo, hi in spans(numel):
            energy = [e + row.square().sum().item() for e, row in zip(energy, rows(lo, hi), strict=True)]
        total = sum(energy)
        return [1 / n] * n if total <= self.floor * numel else [e / total for e in energy]


def _variance(rows: list[Tensor]) -> Float[Tensor, " p"]:
    mean = mass(rows, [1.0] * len(rows)).div_(len(rows))
    total, deviation = torch.zeros_like(mean), torch.empty_like(mean)
    for row in rows:
        torch.sub(row, mean, out=deviation)
        total.add_(deviation.square_())
    return total.div_(len(rows))
