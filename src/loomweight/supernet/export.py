"""Compare an exported module with the subnet that it was made from."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..weights.axes.outputs import tensors_in


def differs(subnet: Callable[..., Any], plain: nn.Module, example: tuple[tuple[Any, ...], dict[str, Any]]) -> float:
    """The largest difference of outputs, relative to the largest output; both in evaluation mode."""
    args, kwargs = example
    training = plain.training
    plain.eval()
    with torch.no_grad():
        pairs = list(zip(tensors_in(subnet(*args, **kwargs)), tensors_in(plain(*args, **kwargs)), strict=True))
    plain.train(training)
    largest = max((a.double().abs().max().item() for a, _ in pairs if a.numel() and a.is_floating_point()), default=0.0)
    apart = max(((a.double() - b.double()).abs().max().item() for a, b in pairs if a.numel() and a.is_floating_point()), default=0.0)
    return apart / largest if largest else apart
