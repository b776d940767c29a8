"""Fold y -> (y - seen mean) (wanted std / seen std) + wanted mean, channel by channel, into the module that makes y."""

from typing import Any

import torch
from torch import Tensor

from ..shapes import Float64
from .batch_norm import remember
from .moments import Moments, is_norm, made_axis

Channels = Float64[Tensor, " channels"]


def fold_in(module: Any, seen: Moments, mean: Channels, std: Channels) -> None:
    """Change a module of ours in place. `seen` is of its output, for a batch normalization of its input.

    A channel that does not move keeps its weights. A layer without a bias is scaled, not shifted; a normalization without weights is renewed only.
    """
    gain = torch.where(seen.constant, 1.0, std / seen.std)
    with torch.no_grad():
        if is_norm(module):
            _norm(module, seen, mean, gain)
        else:
            _layer(module, seen, mean, gain)


def signs(module: Any) -> Tensor:
    """-1 for channels that a normalization turns round, else 1."""
    if not is_norm(module) or module.weight is None:
        return torch.ones((), dtype=torch.float64)
    return torch.where(module.weight < 0, -1.0, 1.0).double()


def _norm(module: Any, seen: Moments, mean: Channels, gain: Channels) -> None:
    remember(module, seen)
    if module.affine:
        undone = (module.running_var.double() + module.eps).sqrt()
        module.weight.copy_(torch.where(seen.constant, module.weight, gain * undone * signs(module)))
        module.bias.copy_(mean)


def _layer(module: Any, seen: Moments, mean: Channels, gain: Channels) -> None:
    weight, axis = module.weight, made_axis(module) or 0
    blocks = module.groups if getattr(module, "transposed", False) else 1
    apart = weight.double().unflatten(0, (blocks, -1))
    shape = [blocks] + [-1 if d == axis else 1 for d in range(weight.ndim)]
    weight.copy_((apart * gain.reshape(shape)).reshape(weight.shape))
    if module.bias is not None:
        module.bias.copy_((module.bias.double() - seen.mean) * gain + mean)
