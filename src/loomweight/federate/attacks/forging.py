"""What the honest clients of a round look like to one who sees all their updates."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..plain import Reply, Tensors

#: the honest values of one tensor, stacked -> what is sent in its place
Forger = Callable[[Tensor], Tensor]


def forged(own: Reply, honest: Sequence[Tensors], forger: Forger) -> Reply:
    """The reply with every floating tensor forged from the honest ones of that name, in float32 or better; where nobody honest is seen, from its own."""
    update = {}
    for name, tensor in own.update.items():
        seen = [other[name] for other in honest if name in other] or [tensor]
        if tensor.is_floating_point():
            work = torch.float64 if tensor.dtype == torch.float64 else torch.float32
            update[name] = forger(torch.stack([other.to(work) for other in seen])).to(tensor.dtype)
        else:
            update[name] = tensor
    return replace(own, update=update)


def spread(stack: Tensor) -> Tensor:
    """The standard deviation of every entry, with n - 1; 0 of a single one."""
    return stack.std(0) if len(stack) > 1 else torch.zeros_like(stack[0])


def first_floating(own: Reply) -> str | None:
    """The first tensor that has floating entries."""
    return next((name for name, tensor in own.update.items() if tensor.is_floating_point() and tensor.numel()), None)
