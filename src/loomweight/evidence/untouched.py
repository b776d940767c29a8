"""Look at a model and leave it exactly as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """In evaluation mode inside; afterwards every module has its mode, every buffer its content, every parameter its flags and grad.

    >>> model = nn.Sequential(nn.BatchNorm1d(2))
    >>> with untouched(model):
    ...     model[0].training
    False
    >>> model[0].training
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    held = [(module, dict(module._buffers)) for module in model.modules() if module._buffers]
    copies = [(buffer, buffer.clone()) for _, buffers in held for buffer in buffers.values() if buffer is not None]
    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for module, buffers in held:
            module._buffers.clear()
            module._buffers.update(buffers)
        with torch.no_grad():
            for buffer, copy in copies:
                buffer.copy_(copy)
        for parameter, wanted, grad in flags:
            parameter.requires_grad_(wanted)
            parameter.grad = grad
