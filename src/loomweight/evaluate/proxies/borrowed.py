"""A module on loan: it runs on copies of its weights and buffers, in training mode without dropout, and is given back as it was.

Parameters, buffers, gradients, `requires_grad`, training flags and torch's random state are untouched, also after an error.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...errors import BadParameter, NonFinite
from ...weights.axes.find import arguments

Loss = Callable[[Tensor, Tensor], Tensor]
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase, nn.RMSNorm)


class Borrowed:
    """Copies of a module's parameters and buffers, and the module run on them.

    Args:
        model: the module.
        proxy: who asks, for messages.
    """

    def __init__(self, model: nn.Module, proxy: str) -> None:
        self.model, self.proxy = model, proxy
        self.weights = {name: value.detach().clone() for name, value in model.named_parameters()}
        self.buffers = {name: value.detach().clone() for name, value in model.named_buffers()}

    @property
    def matrices(self) -> dict[str, Tensor]:
        """Weights with two or more axes: of convolutions, linear layers, embeddings and the like."""
        found = {name: value for name, value in self.weights.items() if value.ndim > 1 and value.is_floating_point()}
        if not found:
            raise BadParameter(f"{self.proxy}: {type(self.model).__name__} has no weight with two or more axes, so there is nothing to score.")
        return found

    def double(self) -> None:
        """Go on in float64."""
        for stored in (self.weights, self.buffers):
            stored.update({name: value.double() for name, value in stored.items() if value.is_floating_point()})

    def run(self, inputs: Any) -> Tensor:
        """Outputs as one tensor.

        Raises:
            BadParameter: the model does not run on them, or gives no tensor.
        """
        args, kwargs = arguments(inputs, None)
        try:
            outputs = functional_call(self.model, {**self.weights, **self.buffers}, args, kwargs)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise self.refusal("does not run on the batch", error) from error
        return self._tensor(outputs)

    def gradients(self, inputs: Any, targets: Tensor, loss: Loss) -> dict[str, Tensor]:
        """Of the loss, for every matrix; zero where a matrix is not used.

        Raises:
            BadParameter: there are no gradients to be had.
            NonFinite: the loss or a gradient is not finite.
        """
        matrices = {name: value.requires_grad_() for name, value in self.matrices.items()}
        try:
            with torch.enable_grad():
                value = loss(self.run(inputs), targets)
                found = torch.autograd.grad(value, list(matrices.values()), allow_unused=True, materialize_grads=True)
        except BadParameter:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise self.refusal("has no gradients of this loss", error) from error
        named = dict(zip(matrices, found, strict=True))
        bad = next((name for name, gradient in named.items() if not torch.isfinite(gradient).all()), None)
        if not torch.isfinite(value) or bad:
            what = f"the gradient of {bad!r}" if bad else "the loss"
            raise NonFinite(f"{self.proxy}: {what} is not finite, so {type(self.model).__name__} has no score; look at the inputs and the initialisation.")
        return named

    def refusal(self, what: str, error: Exception) -> BadParameter:
        """The error for a model that a proxy cannot score."""
        hint = " (an operation in place changed what the backward pass needs; use one that is not in place)" if "inplace" in str(error).replace("-", "") else ""
        return BadParameter(f"{self.proxy}: {type(self.model).__name__} {what}{hint}: {error}")

    def _tensor(self, outputs: Any) -> Tensor:
        found = getattr(outputs, "logits", outputs)  # structures of Transformers, which are mappings too
        match found:
            case Mapping():
                found = found.get("logits")
            case (first, *_):
                found = first
        if not isinstance(found, Tensor):
            raise BadParameter(f"{self.proxy}: {type(self.model).__name__} gives a {type(outputs).__name__}; a tensor, or something with logits, is needed.")
        return found


@contextmanager
def borrowed(model: nn.Module, proxy: str) -> Iterator[Borrowed]:
    """Training mode (batch normalization by the batch), dropout off; flags and random state are put back."""
    flags = [(module, module.training) for module in model.modules()]
    devices = sorted({value.get_device() for value in model.parameters() if value.is_cuda})
    random, on_devices = torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in devices]
    try:
        for module, _ in flags:
            module.training = not isinstance(module, nn.modules.dropout._DropoutNd)
        yield Borrowed(model, proxy)
    finally:
        for module, training in flags:
            module.training = training
        torch.set_rng_state(random)
        for device, kept in zip(devices, on_devices, strict=True):
            torch.cuda.set_rng_state(kept, device)


@contextmanager
def without_norms(model: nn.Module) -> Iterator[None]:
    """Every module that normalizes passes its input on."""
    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    before = [module.__dict__.get("forward") for module in norms]
    try:
        for module in norms:
            module.forward = _passed  # type: ignore[method-assign]
        yield
    finally:
        for module, forward in zip(norms, before, strict=True):
            del module.forward
            if forward is not None:
                module.forward = forward  # type: ignore[method-assign]


def _passed(x: Tensor) -> Tensor:
    return x
