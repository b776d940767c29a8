"""The mean of the values that have the elected sign: what TIES, majority sign and SCE share.

Paper: TIES-Merging: Resolving Interference When Merging Models (2023, https://arxiv.org/abs/2306.01708), section 3, steps 2 and 3.
Original code: https://github.com/prateeky2806/ties-merging.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..shapes import Float

#: who is elected where both signs have the same mass: nobody (the entry is 0), or the positive one, as in mergekit
Tie = Literal["zero", "positive"]


def mass(rows: Sequence[Float[Tensor, " p"]], factors: Sequence[float]) -> Float[Tensor, " p"]:
    """sum_i a_i x_i, in fresh memory."""
    if len(rows) == 1 or factors[0] != 1:
        total, rest = rows[0] * factors[0], 1
    else:
        total, rest = torch.add(rows[0], rows[1], alpha=factors[1]), 2
    for row, factor in zip(rows[rest:], factors[rest:], strict=True):
        total.add_(row, alpha=factor)
    return total


def elected(votes: Float[Tensor, " p"], tie: Tie) -> Float[Tensor, " p"]:
    """The sign of the votes: -1, 0 or 1; the votes may be overwritten."""
    return torch.copysign(votes.new_ones(()), votes) if tie == "positive" else votes.sign_()


def agreeing(rows: Sequence[Float[Tensor, " p"]], factors: Sequence[float], sign: Float[Tensor, " p"], normalize: bool) -> Float[Tensor, " p"]:
    """sum_A a_i x_i, over the sets A where a_i x_i has that sign; divided by sum_A a_i unless that is 0, with `normalize`."""
    total = _along(rows[0], factors[0], sign)
    weight = total.sign().mul_(factors[0]) if normalize else None
    total = total if abs(factors[0]) == 1 else total.mul_(abs(factors[0]))
    part = torch.empty_like(sign) if len(rows) > 1 else None
    for row, factor in zip(rows[1:], factors[1:], strict=True):
        part = _along(row, factor, sign, part)
        total.add_(part, alpha=abs(factor))
        if weight is not None:
            weight.add_(part.sign_(), alpha=factor)
    total.mul_(sign)
    if weight is None:
        return total
    if min(factors) > 0:
        return total.div_(weight.clamp_(min=min(factors)))
    return total.div_(weight.masked_fill_(weight == 0, 1.0))


def _along(row: Float[Tensor, " p"], factor: float, sign: Float[Tensor, " p"], out: Tensor | None = None) -> Float[Tensor, " p"]:
    """|x_i| where a_i x_i has that sign, else 0."""
    part = torch.mul(row, sign, out=out)
    return (part.neg_() if factor < 0 else part).clamp_(min=0)
