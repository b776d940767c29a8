"""A weighted sum of zero-padded slices of one tensor, at the cost of one multiplication.

Paper: Weight-Entanglement Meets Gradient-Based Neural Architecture Search (2023, https://arxiv.org/abs/2312.10440), equation 3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import BadParameter


class Superposition(nn.Module):
    """used = sum over k of coefficient k x pad(stored[: size k]) along each axis that has a choice.

    Slices from the start are nested, so that entry j of an axis is multiplied by the sum of the coefficients of all sizes above j:
    one factor for each row and each column stands for the whole sum, and nothing is padded or added.

    Args:
        stored: the whole tensor.
        sizes: axis -> its sizes, ascending, the last one the whole axis.
        coefficients: axis -> a function that returns one number for each size, summing to 1 as a rule.

    Raises:
        BadParameter: the sizes do not ascend to the length of the axis.

    >>> stored = nn.Parameter(torch.ones(4))
    >>> Superposition(stored, {0: (1, 2, 4)}, {0: lambda: torch.tensor([0.5, 0.25, 0.25])})().tolist()
    [1.0, 0.5, 0.25, 0.25]
    """

    def __init__(self, stored: nn.Parameter, sizes: dict[int, Sequence[int]], coefficients: dict) -> None:
        super().__init__()
        for axis, several in sizes.items():
            if list(several) != sorted(set(several)) or several[0] < 1 or several[-1] != stored.shape[axis]:
                raise BadParameter(f"sizes of axis {axis} must ascend to its length {stored.shape[axis]}, found {list(several)}.")
        self.stored, self.sizes, self.coefficients = stored, sizes, coefficients
        for axis, several in sizes.items():
            place = torch.searchsorted(torch.tensor(list(several)), torch.arange(several[-1]), right=True)
            self.register_buffer(f"place_{axis}", place, persistent=False)

    def forward(self) -> Tensor:
        """The shape of the stored tensor."""
        used: Tensor = self.stored
        for axis in self.sizes:
            tail = self.coefficients[axis]().flip(0).cumsum(0).flip(0)
            factor = tail[getattr(self, f"place_{axis}")].to(used.dtype)
            used = used * factor.view([-1 if i == axis else 1 for i in range(used.ndim)])
        return used
