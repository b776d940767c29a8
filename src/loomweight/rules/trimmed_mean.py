"""The coordinate-wise trimmed mean.

Paper: Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates (2018, https://arxiv.org/abs/1803.01498),
definition 2, with f = floor(beta n). We differ: sets may have weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import BadParameter, TooFewSets
from ..shapes import Float
from .network import middle_mean
from .ranked import masses, ranked_sum
from .rowwise import Rowwise


@dataclass(frozen=True)
class TrimmedMean(Rowwise):
    """For each entry the mean of what is left of the n values without the f smallest and the f largest.

    With weights a_i, W = sum_i a_i and t the weight of the f heaviest sets, a weight of t is cut off at either end of the
    sorted values (the last set that it reaches keeps a part), and the rest is averaged by weight. A weight of 2 is the same
    as the set given twice, where t is the same too.

    Needs n > 2 f, or W > 2 t. Breakdown point: f bad sets, whichever they are, leave the result between the smallest and the
    largest good value; f + 1 sets can move it anywhere.

    Args:
        f: how many sets may be bad.
        weights: a_i >= 0, one a set; None is 1 for each.

    Raises:
        TooFewSets: n <= 2 f, or the f heaviest sets hold half of the weight.
        BadParameter: f is negative; a weight is negative, or all are 0.

    >>> TrimmedMean(f=1)(torch.tensor([[1.0], [2.0], [6.0], [1000.0]]))
    tensor([4.])
    >>> TrimmedMean(f=1, weights=(1, 1, 1, 2))(torch.tensor([[1.0], [2.0], [6.0], [1000.0]]))
    tensor([6.])
    """

    f: int = 1
    weights: tuple[float, ...] | None = None

    takes_halves = True

    def __post_init__(self) -> None:
        if self.f < 0:
            raise BadParameter(f"TrimmedMean: f must be at least 0, found {self.f}.")
        if self.weights is not None:
            masses(self.weights)

    def check(self, n: int) -> None:
        """Raise where too little is left."""
        super().check(n)
        if n <= 2 * self.f:
            raise TooFewSets(f"{self} needs at least {2 * self.f + 1} weight sets (2 f + 1), got {n}.")
        if self.weights is not None and 2 * self._cut(masses(self.weights)) >= sum(masses(self.weights)):
            raise TooFewSets(f"{self}: its {self.f} heaviest sets hold half of the weight or more; give more sets, a smaller f, or more even weights.")

    def combined(self, rows: Sequence[Float[Tensor, " p"]]) -> Float[Tensor, " p"]:
        """The trimmed mean of the rows."""
        if self.weights is None or len(set(self.weights)) == 1:
            return middle_mean(rows, self.f, len(rows) - self.f)
        whole = masses(self.weights)
        low = self._cut(whole)
        high = sum(whole) - low
        return ranked_sum(rows, whole, lambda mass: mass.clamp(low, high)).mul_(1 / (high - low))

    def _cut(self, whole: tuple[int, ...]) -> int:
        return sum(sorted(whole)[len(whole) - self.f :])
