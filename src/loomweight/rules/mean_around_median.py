"""Mean around the median (Meamed): for every entry, the mean of the values nearest to the median.

Paper: Generalized Byzantine-tolerant SGD (2018, https://arxiv.org/abs/1802.10116), definition 4 (mean around median).
We differ: of an even number of sets the median is the mean of the two middle values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float
from .around_median import near_the_median
from .geometry import tolerates
from .rowwise import Rowwise


@dataclass(frozen=True)
class MeanAroundMedian(Rowwise):
    """For each entry the mean of the n - f values nearest to the median of all n.

    Needs n > 2 f. Breakdown point: f bad sets, whichever they are, leave the result within twice the good values' range of any
    good value; bad values that lie as near to the median as good ones are averaged with them.

    Args:
        f: how many sets may be bad.

    Raises:
        TooFewSets: n <= 2 f.
        BadParameter: f is negative.

    >>> import torch
    >>> MeanAroundMedian(f=1)(torch.tensor([[1.0], [2.0], [6.0], [1000.0]]))
    tensor([3.])
    """

    f: int = 1

    takes_halves = True

    def __post_init__(self) -> None:
        if self.f < 0:
            raise BadParameter(f"MeanAroundMedian: f must be at least 0, found {self.f}.")

    def check(self, n: int) -> None:
        """Raise unless n > 2 f."""
        super().check(n)
        tolerates(self, n, self.f, 2 * self.f + 1, "n > 2 f")

    def combined(self, rows: Sequence[Float[Tensor, " p"]]) -> Float[Tensor, " p"]:
        """The mean around the median of the rows."""
        return near_the_median(rows, len(rows) - self.f)
