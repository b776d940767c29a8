"""TIES without its trimming: elect a sign for each entry, average the values that have it.

Paper: TIES-Merging: Resolving Interference When Merging Models (2023, https://arxiv.org/abs/2306.01708), section 3, steps 2 and 3.
Original code: https://github.com/prateeky2806/ties-merging. Where the sum of an entry is exactly 0, the authors' code takes the
sign that most entries of the whole model have, and mergekit the positive one; we elect nobody, so that the result neither
depends on other entries nor on which sign is called positive. `tie="positive"` gives mergekit's numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..edits.ranges import one_of
from ..shapes import Float
from .agreement import Tie, agreeing, elected, mass
from .rowwise import Rowwise


@dataclass(frozen=True)
class ElectSign(Rowwise):
    """For each entry: s = sgn(sum_i a_i x_i), A = {i : sgn(a_i x_i) = s}, result = sum_A a_i x_i / sum_A a_i.

    Made for differences from a base: `Around(base, ElectSign(), edits=(Trim(0.2),))` is TIES. Any n. Breakdown point 0: one
    large value elects its own sign and enters the mean.

    Args:
        weights: a_i, one a set, of any sign; None is 1 for each.
        normalize: divide by the weights of those that agree (where they sum to 0, by 1); False leaves the sum.
        tie: where sum_i a_i x_i is exactly 0: "zero" elects nobody and gives 0; "positive" elects the positive sign.

    Raises:
        BadParameter: `tie` is another word.

    >>> import torch
    >>> ElectSign()(torch.tensor([[2.0, -3.0], [4.0, -1.0], [-1.0, 1.0]]))
    tensor([ 3., -2.])
    """

    weights: tuple[float, ...] | None = None
    normalize: bool = True
    tie: Tie = "zero"

    def __post_init__(self) -> None:
        one_of(self, "tie", ("zero", "positive"))

    def combined(self, rows: Sequence[Float[Tensor, " p"]]) -> Float[Tensor, " p"]:
        """Elect and average the rows."""
        factors, ones = self.weights or (1.0,) * len(rows), (1.0,) * len(rows)
        even = min(factors) == max(factors) > 0
        sign = elected(mass(rows, ones if even else factors), self.tie)
        return agreeing(rows, ones if even and self.normalize else factors, sign, self.normalize)
