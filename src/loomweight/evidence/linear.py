"""Which modules multiply by a matrix, and on which side."""

import sys
from typing import Any

from torch import nn

from ..errors import unknown
from ..weights.names import matches


def input_axis(module: nn.Module) -> int | None:
    """The axis of the module's weight that meets the input: 1 for nn.Linear, 0 for Transformers' Conv1D, None for all others.

    >>> input_axis(nn.Linear(2, 3)), input_axis(nn.LayerNorm(2))
    (1, None)
    """
    if isinstance(module, nn.Linear):
        return 1
    conv1d = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", None)  # not loaded: the model has none
    return 0 if conv1d is not None and isinstance(module, conv1d) else None


def input_axes(model: nn.Module) -> dict[str, int]:
    """The input axis of every linear weight, by the weight's name: RegMean needs to know on which side a square matrix is met.

    >>> input_axes(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    {'0.weight': 1}
    """
    every = ((name, input_axis(module)) for name, module in model.named_modules(remove_duplicate=False))
    return {f"{name}.weight" if name else "weight": axis for name, axis in every if axis is not None}


def chosen(model: nn.Module, pattern: str) -> dict[str, nn.Module]:
    """The modules whose names match, each once, under its first name.

    Raises:
        UnknownName: none matches.
    """
    found = {name: module for name, module in model.named_modules() if matches(pattern, name)}
    if not found:
        raise unknown("module that matches", pattern, (name for name, _ in model.named_modules() if name))
    return found


def matrix_of(module: Any) -> Any:
    """The module's weight, if it is a parameter of at least two axes."""
    weight = module._parameters.get("weight")
    return weight if weight is not None and weight.ndim > 1 else None
