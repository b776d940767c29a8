"""Keep the entry of largest magnitude.

Paper: MagMax: Leveraging Model Merging for Seamless Continual Learning (2024, https://arxiv.org/abs/2407.06322), equation 2.
Original code: https://github.com/danielm1405/magmax.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..shapes import Float
from .rowwise import Rowwise


@dataclass(frozen=True)
class MagMax(Rowwise):
    """For each entry the x_i with the largest |x_i|; of x and -x the positive one.

    Made for differences from a base: `Around(base, MagMax(), scale=0.5)`. The authors' code takes the later of two sets with
    equal magnitude; here the order of the sets does not matter. Any n. Breakdown point 0: the largest value is the result.

    >>> MagMax()(torch.tensor([[1.0, -5.0], [-3.0, 2.0]]))
    tensor([-3., -5.])
    """

    def combined(self, rows: Sequence[Float[Tensor, " p"]]) -> Float[Tensor, " p"]:
        """The largest and the smallest value, and of these the one that is farther from 0."""
        highest, lowest = rows[0].clone(), rows[0].clone()
        for row in rows[1:]:
            torch.maximum(highest, row, out=highest)
            torch.minimum(lowest, row, out=lowest)
        return farther(highest, lowest)


def farther(highest: Float[Tensor, " p"], lowest: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
    """Of two numbers, highest >= lowest, the one of larger magnitude; of x and -x the positive one. Both may be overwritten.

    >>> farther(torch.tensor([1.0, 4.0, 2.0]), torch.tensor([-3.0, 3.0, -2.0]))
    tensor([-3.,  4.,  2.])
    """
    chosen = torch.copysign(highest.new_ones(()), highest + lowest)
    highest.mul_(chosen.clamp(min=0))
    return highest.sub_(lowest.mul_(chosen.clamp_(max=0)))
