"""A pass through the live model that leaves no trace in it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..work import Work


def aside(model: nn.Module, inputs: Sequence[Tensor], weights: Mapping[str, Tensor] | None = None) -> Any:
    """The outputs, with other weights where given; buffers such as BatchNorm's statistics stay as they are.

    >>> model = torch.nn.BatchNorm1d(2)
    >>> outputs = aside(model, [torch.randn(4, 2)])
    >>> model.num_batches_tracked
    tensor(0)
    """
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
    return torch.func.functional_call(model, {**buffers, **(weights or {})}, tuple(inputs))


def gradient_aside(work: "Work", place: Mapping[str, Tensor], batch: Sequence[Any]) -> dict[str, Tensor]:
    """The gradient of a batch's loss where the trained tensors are those of `place`; the model stays as it is."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in place.items()}
    outputs = aside(work.model, batch[:-1], leaves)
    found = torch.autograd.grad(work.local.loss(outputs, batch[-1]), list(leaves.values()), allow_unused=True)
    return {name: torch.zeros_like(leaf) if part is None else part for (name, leaf), part in zip(leaves.items(), found, strict=True)}
