"""Bounding what one client can change: the norm over all tensors of an update."""

from math import sqrt

from ..plain import Tensors


def total_norm(update: Tensors) -> float:
    """The Euclidean norm of all floating entries together, summed in float64.

    >>> total_norm({"a": torch.tensor([3.0]), "b": torch.tensor([4.0])})
    5.0
    """
    return sqrt(sum(float(tensor.double().square().sum()) for tensor in update.values() if tensor.is_floating_point()))


def clip_factor(norm: float, limit: float) -> float:
    """min(1, limit / norm): what an update is multiplied by."""
    return 1.0 if norm <= limit else limit / norm


def clipped(update: Tensors, limit: float) -> Tensors:
    """The update times min(1, limit / its norm); integers stay as they are.

    >>> clipped({"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}, 2.5)
    {'a': tensor([1.5000]), 'b': tensor([2.])}
    """
    factor = clip_factor(total_norm(update), limit)
    return {name: tensor * factor if factor < 1 and tensor.is_floating_point() else tensor for name, tensor in update.items()}
