"""`nn.Linear` whose weight may be a view of a larger one.

torch works out the gradient of such a weight transposed, and copies it into place, which costs a third of a layer's step; here it is
worked out the right way round. The function is torch's own.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: below this many entries, calling a function of our own costs more than the copy
_SMALL = 1 << 15


class SlicedLinear(nn.Linear):
    """The same parameters and the same function as `nn.Linear`; an exported subnet has torch's own class again."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        """(..., in) -> (..., out)."""
        weight = self.weight
        if weight.numel() < _SMALL or weight.is_contiguous() or not torch.is_grad_enabled() or torch.is_autocast_enabled(input.device.type):
            return functional.linear(input, weight, self.bias)
        return _Linear.apply(input, weight, self.bias)  # type: ignore[no-any-return]


class _Linear(torch.autograd.Function):
    """input weight^T + bias, with the gradient of the weight in rows."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        ctx.save_for_backward(input, weight)
        return functional.linear(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """d input = grad weight, d weight = grad^T input, d bias = sum of grad."""
        (grad,) = grads
        input, weight = ctx.saved_tensors  # noqa: A001
        rows = grad.reshape(-1, grad.shape[-1])
        wants = ctx.needs_input_grad
        return (
            (rows @ weight).view(input.shape) if wants[0] else None,
            rows.t() @ input.reshape(-1, input.shape[-1]) if wants[1] else None,
            rows.sum(0) if wants[2] else None,
        )
