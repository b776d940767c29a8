"""Elect the sign that most sets have, whatever their sizes, and average the values that have it.

Paper: signSGD with Majority Vote is Communication Efficient And Fault Tolerant (2018, https://arxiv.org/abs/1810.05291),
algorithm 1, elects this sign; the mean of those that agree is that of TIES-Merging (https://arxiv.org/abs/2306.01708), whose
section 7 compares both ways to elect. With tie="positive" and no weights it is mergekit's consensus method "count".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..edits.ranges import one_of
from ..errors import BadParameter
from ..shapes import Float
from .agreement import Tie, agreeing, elected
from .rowwise import Rowwise


@dataclass(frozen=True)
class MajoritySign(Rowwise):
    """For each entry: s = sgn(sum_i a_i sgn(x_i)), A = {i : sgn(x_i) = s}, result = sum_A a_i x_i / sum_A a_i.

    Made for differences from a base. Any n. Breakdown point of the sign: fewer than half of the sets (half of the weight)
    cannot turn a sign that all others share. That of the value is 0: one set that agrees can be as large as it likes.

    Args:
        weights: a_i >= 0, votes and weights of the sets; None is 1 for each.
        tie: where the vote is exactly even: "zero" elects nobody and gives 0; "positive" elects the positive sign.

    Raises:
        BadParameter: `tie` is another word; a weight is negative.

    >>> import torch
    >>> MajoritySign()(torch.tensor([[2.0], [4.0], [-100.0]]))
    tensor([3.])
    """

    weights: tuple[float, ...] | None = None
    tie: Tie = "zero"

    def __post_init__(self) -> None:
        one_of(self, "tie", ("zero", "positive"))
        if self.weights is not None and min(self.weights) < 0:
            raise BadParameter(f"MajoritySign: weights must be at least 0, found {self.weights}.")

    def combined(self, rows: Sequence[Float[Tensor, " p"]]) -> Float[Tensor, " p"]:
        """Vote and average the rows."""
        factors = self.weights or (1.0,) * len(rows)
        votes = rows[0].sign().mul_(factors[0])
        for row, factor in zip(rows[1:], factors[1:], strict=True):
            votes.add_(row.sign(), alpha=factor)
        return agreeing(rows, factors, elected(votes, self.tie), normalize=True)
