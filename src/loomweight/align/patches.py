"""Linear layers and convolutions as what they both are: a matrix that multiplies rows.

A row of a convolution is a patch of its input: (channels of the group, *kernel), in the order of its weight.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from ..errors import BadParameter
from ..evidence.linear import input_axis
from ..shapes import Float


def is_matrix(module: nn.Module) -> bool:
    """True for linear layers, Transformers' Conv1D and convolutions; transposed convolutions are none."""
    return input_axis(module) is not None or (isinstance(module, nn.modules.conv._ConvNd) and not module.transposed)


def refuse_others(module: nn.Module, name: str) -> None:
    """Raise unless the module is a matrix, with a plain weight."""
    if not is_matrix(module) or "weight" not in module._parameters:
        raise BadParameter(f"{name!r} is a {type(module).__name__}; least squares are for linear layers and convolutions with plain weights.")


def rows(module: Any, given: Tensor) -> Float[Tensor, "rows groups inputs"]:
    """The rows that the module's matrix multiplies."""
    if not isinstance(module, nn.modules.conv._ConvNd):
        return given.reshape(-1, 1, given.shape[-1])
    count = len(module.kernel_size)
    x = given if given.ndim == count + 2 else given[None]
    x = pad(x, module._reversed_padding_repeated_twice, mode="constant" if module.padding_mode == "zeros" else module.padding_mode)
    for d, (size, step, apart) in enumerate(zip(module.kernel_size, module.stride, module.dilation, strict=True)):
        x = x.unfold(2 + d, (size - 1) * apart + 1, step)[..., ::apart]
    places = x.movedim(1, 1 + count)  # (examples, *places, channels, *kernel)
    return places.reshape(-1, module.groups, places[0].numel() // (module.groups * places.shape[1 : 1 + count].numel()))


def results(module: Any, output: Tensor) -> Float[Tensor, "rows groups outputs"]:
    """The rows that come out, in the same order."""
    if not isinstance(module, nn.modules.conv._ConvNd):
        return output.reshape(-1, 1, output.shape[-1])
    moved = output.movedim(-1 - len(module.kernel_size), -1)
    return moved.reshape(-1, module.groups, moved.shape[-1] // module.groups)


def matrix(module: Any) -> Float[Tensor, "groups inputs outputs"]:
    """The module's weight."""
    if input_axis(module) == 0:
        return module.weight.detach()[None]
    groups = getattr(module, "groups", 1)
    return module.weight.detach().reshape(groups, module.weight.shape[0] // groups, -1).mT


def weight_of(module: Any, found: Float[Tensor, "groups inputs outputs"]) -> Tensor:
    """A matrix in the shape of the module's weight."""
    return (found[0] if input_axis(module) == 0 else found.mT).reshape(module.weight.shape)
