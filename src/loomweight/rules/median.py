"""The coordinate-wise median.

Paper: Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates (2018, https://arxiv.org/abs/1803.01498),
definition 1. We differ: of an even number the two middle values are averaged, as usual in statistics (torch.median takes the
lower one), and sets may have weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..shapes import Float
from .network import middle_mean
from .ranked import masses, ranked_sum
from .rowwise import Rowwise


@dataclass(frozen=True)
class Median(Rowwise):
    """For each entry the middle one of the n values; of an even n the mean of the two middle ones.

    With weights a_i and W = sum_i a_i it is the mean of the smallest value whose smaller-or-equal values weigh at least W / 2
    and of the smallest whose weigh more than W / 2. A weight of 2 is the same as the set given twice.

    Any n. Breakdown point: up to (n - 1) // 2 bad sets, or any that weigh less than W / 2 together, leave the result between
    the smallest and the largest good value. A set with weight W / 2 or more can move it anywhere.

    Args:
        weights: a_i >= 0, one a set; None is 1 for each.

    Raises:
        BadParameter: a weight is negative, or all are 0.

    >>> Median()(torch.tensor([[1.0], [2.0], [6.0], [1000.0]]))
    tensor([4.])
    >>> Median(weights=(1, 1, 3))(torch.tensor([[1.0], [2.0], [6.0]]))
    tensor([6.])
    """

    weights: tuple[float, ...] | None = None

    takes_halves = True

    def __post_init__(self) -> None:
        if self.weights is not None:
            masses(self.weights)

    def combined(self, rows: Sequence[Float[Tensor, " p"]]) -> Float[Tensor, " p"]:
        """The median of the rows."""
        n = len(rows)
        if self.weights is None or len(set(self.weights)) == 1:
            return middle_mean(rows, (n - 1) // 2, n // 2 + 1)
        whole = masses(self.weights)
        half = sum(whole) / 2
        return ranked_sum(rows, whole, lambda mass: mass.sub(half).sign_().mul_(0.5))
