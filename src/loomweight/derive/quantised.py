"""A weight rounded to a few levels, trained as if it were not.

Papers: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (2017,
https://arxiv.org/abs/1712.05877), equation 1. We differ: levels mirror each other at 0 and there is one step for each output unit.
"""

import torch
from torch import Tensor, nn

from ..errors import BadParameter

#: so many bits are those of an ordinary number: nothing is rounded
UNROUNDED = 32


class Quantised(nn.Module):
    """used = s round(x / s) with s = max |x| / (2^(bits - 1) - 1) of each unit; the gradient passes straight through.

    Args:
        how: a derivation of the tensor that is rounded; a parameter itself stands for what is stored.
        bits: from 2 to 16, or 32, which rounds nothing.
        axis: the one along which every entry has a step of its own, that of output units.

    Raises:
        BadParameter: bits is another number.

    >>> weight = nn.Parameter(torch.tensor([[-4.0, 1.0, 3.0]]))
    >>> Quantised(weight, 2)().tolist()
    [[-4.0, 0.0, 4.0]]
    """

    def __init__(self, how: nn.Module | nn.Parameter, bits: int = 8, axis: int = 0) -> None:
        super().__init__()
        if not (2 <= bits <= 16 or bits == UNROUNDED):
            raise BadParameter(f"a weight is rounded to 2 to 16 bits, or left as it is by {UNROUNDED}; found {bits}.")
        self.how, self.bits, self.axis = how, bits, axis

    def forward(self) -> Tensor:
        """The shape of what is rounded."""
        exact = self.how if isinstance(self.how, nn.Parameter) else self.how.forward()
        return exact if self.bits == UNROUNDED else rounded(exact, self.bits, self.axis)


def rounded(exact: Tensor, bits: int, axis: int, step: Tensor | None = None) -> Tensor:
    """Rounded forwards, as it is backwards; to other steps than its own where some are given, no further than they reach."""
    with torch.no_grad():
        most = 2 ** (bits - 1) - 1
        levels = (exact / step).round_().clamp_(-most, most).mul_(step) if step is not None else _to_levels(exact, steps(exact, bits, axis))
    return levels + (exact - exact.detach())


def steps(exact: Tensor, bits: int, axis: int) -> Tensor:
    """The step of each unit, 1 where all is zero."""
    others = [i for i in range(exact.ndim) if i != axis]
    step = exact.detach().abs().amax(others, keepdim=True) / (2 ** (bits - 1) - 1)
    return torch.where(step > 0, step, 1.0)


def _to_levels(exact: Tensor, step: Tensor) -> Tensor:
    return (exact / step).round_().mul_(step)
