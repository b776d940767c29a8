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
        apart = distance(subnet(*args, **kwargs), plain(*args, **kwargs))
    plain.train(training)
    return apart


def distance(wanted: Any, found: Any) -> float:
    """The largest difference of two outputs, relative to the largest finite entry; infinite where their shapes differ."""
    pairs = list(zip(tensors_in(wanted), tensors_in(found), strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    numbers = [(a.double(), b.double()) for a, b in pairs if a.numel() and a.is_floating_point()]
    largest = max((a[a.isfinite()].abs().max().item() for a, _ in numbers if a.isfinite().any()), default=0.0)
    apart = max((torch.where(a == b, 0.0, (a - b).abs()).max().item() for a, b in numbers), default=0.0)
    return apart / largest if largest else apart
