"""A pass through the live model that leaves no trace in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def aside(model: nn.Module, inputs: Sequence[Tensor], weights: Mapping[str, Tensor] | None = None) -> Any:
    """The outputs, with other weights where given; buffers such as BatchNorm's statistics stay as they are.

    >>> model = torch.nn.BatchNorm1d(2)
    >>> outputs = aside(model, [torch.randn(4, 2)])
    >>> model.num_batches_tracked
    tensor(0)
    """
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
    return torch.func.functional_call(model, {**buffers, **(weights or {})}, tuple(inputs))
