"""Consensus merging: sum the differences, then forget what fewer than k tasks use.

Paper: Localizing Task Information for Improved Model Merging and Compression (2024, https://arxiv.org/abs/2405.07813),
equations 5 and 6. Original code: https://github.com/nik-dim/tall_masks at d10af8b2 (src/utils/tallmask_utils.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Bool, Float
from ..weights import Block, Spec, Weights
from ..weights.algebra import subtract, working
from .rowwise import Rowwise


@dataclass(frozen=True)
class Consensus(Rowwise):
    """On differences d_i: D = sum_i d_i, mask m_i = |d_i| > tall |D - d_i|; D where at least `agree` masks hold, else 0.

    agree=1 removes what no task uses ("catastrophic" entries), agree=2 also what a single one uses ("selfish" ones), 0 keeps
    all. Breakdown point 0.

    Args:
        tall: lambda of the masks, at least 0; the paper chooses it on validation data, task by task, out of 0.2 to 0.6.
        agree: how many masks must hold.

    >>> Consensus(tall=0.4, agree=2)(torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -0.9]]))
    tensor([2.0000, 0.0000, 0.1000])
    """

    tall: float = 0.4
    agree: int = 2

    def __post_init__(self) -> None:
        if not self.tall >= 0 or self.agree < 0:
            raise BadParameter(f"Consensus: tall and agree must be at least 0, found {self.tall} and {self.agree}.")

    def combined(self, rows: Sequence[Float[Tensor, " p"]]) -> Float[Tensor, " p"]:
        """The masked sum of the rows."""
        total = rows[0].clone()
        for row in rows[1:]:
            total += row
        count = sum((_mask(row, total, self.tall).to(torch.int16) for row in rows), torch.zeros_like(total, dtype=torch.int16))
        return total.masked_fill_(count < self.agree, 0.0)


def tall_masks(sets: Sequence[Weights], base: Weights, tall: float = 0.4) -> list[Weights]:
    """For each set its TALL mask, a boolean weight set: base + mask_i * (sum of the differences) stands for that set again.

    Part of: consensus_merging.

    Args:
        tall: lambda; larger masks fewer entries in.

    >>> sets = [Weights.of({"w": torch.tensor(d)}) for d in ([1.0, 0.0], [1.0, 3.0])]
    >>> [mask["w"].tolist() for mask in tall_masks(sets, Weights.of({"w": torch.zeros(2)}))]
    [[True, False], [True, True]]
    """
    deltas = [subtract(weights, base) for weights in sets]
    total = reduce(Weights.__add__, deltas)

    def masked(delta: Weights) -> Weights:
        def open_(name: str) -> Block:
            own, all_ = working(delta, name), working(total, name)
            return lambda lo, hi: _mask(own(lo, hi), all_(lo, hi), tall)

        spec = {name: Spec(s.shape, torch.bool) for name, s in delta.spec.items()}
        return Weights(spec, open_, ties=delta.ties, origin=("tall mask", delta, total, tall), label=f"mask of {delta.label}")

    return [masked(delta) for delta in deltas]


def _mask(own: Float[Tensor, " p"], total: Float[Tensor, " p"], tall: float) -> Bool[Tensor, " p"]:
    return own.abs() > (total - own).abs_().mul_(tall)
