"""What another network's layer puts out: what a layer can be fitted to."""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..errors import unknown
from ..evidence.grams import Forward, run_model
from .passes import Data

#: a batch -> the wanted outputs of a layer on it
Wanted = Callable[[Any], Tensor]


def outputs_of(teacher: nn.Module, layer: str, forward: Forward = run_model) -> Wanted:
    """batch -> what a network's layer puts out on it, in evaluation mode.

    >>> outputs_of(nn.Sequential(nn.Flatten(), nn.ReLU()), "0")(torch.ones(1, 2, 2))
    tensor([[1., 1., 1., 1.]])
    """
    twin = copy.deepcopy(teacher).eval()
    module_of(twin, layer)

    def wanted(batch: Any) -> Tensor:
        outputs: list[Tensor] = []
        Data([batch], forward, False).through(twin, {layer: twin.get_submodule(layer)}, lambda _, given, output: outputs.append(output.clone()), words=layer)
        return outputs[-1]

    return wanted


def module_of(model: nn.Module, name: str) -> nn.Module:
    """The module of that name."""
    found = dict(model.named_modules())
    if name not in found:
        raise unknown("module", name, filter(None, found))
    return found[name]
