"""What the searches have in common: losses under relaxed weights, and steps of one optimizer on some tensors alone."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from ...errors import NonFinite
from ..step import Loss
from .relaxed import Relaxed

#: (inputs, targets)
Batch = Sequence[Any]
Gradients = Sequence[Tensor | None]


def loss_of(mixed: Relaxed, loss: Loss, batch: Batch, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    """The loss of a relaxed model on a batch, coefficients freshly drawn.

    Raises:
        NonFinite: it is NaN or infinite; nothing was stepped on yet.
    """
    return finite(loss(mixed.run(batch[0], weights), batch[1]))


def finite(value: Tensor) -> Tensor:
    """The loss, if it is a number.

    Raises:
        NonFinite: it is none.
    """
    if not isfinite(float(value.detach())):
        raise NonFinite(f"the loss of the relaxed model is {float(value.detach())}; nothing was changed. Lower the learning rates, or look at this batch.")
    return value


def gradients(value: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Of a loss; None for a tensor that it does not depend on."""
    return torch.autograd.grad(value, tensors, allow_unused=True)


def descend(optimizer: torch.optim.Optimizer, tensors: Iterable[Tensor], found: Gradients) -> None:
    """One step of an optimizer by these gradients; tensors without one are not touched by it, nor decayed."""
    optimizer.zero_grad(set_to_none=True)
    for tensor, gradient in zip(tensors, found, strict=True):
        tensor.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
