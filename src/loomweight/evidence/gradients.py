"""Gradients of a loss of one batch by all parameters, frozen ones too, without touching the model's own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NonFinite
from .fold import floating_parameters

#: (model, batch) -> a scalar, the mean over the batch's examples
Loss = Callable[[nn.Module, Any], Tensor]


class Called(nn.Module):
    """A function of a model as a module, so that `functional_call` can give it other parameters; shared ones stay shared."""

    def __init__(self, model: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        """The function of the model."""
        return self.function(self.model, *arguments)

    def at(self, parameters: dict[str, Tensor], *arguments: Any) -> Any:
        """The function with these parameters, by their names in the model."""
        return torch.func.functional_call(self, {f"model.{name}": parameter for name, parameter in parameters.items()}, arguments)


def leaves(model: nn.Module) -> dict[str, Tensor]:
    """The floating parameters as new leaves on the same memory, ready to be differentiated."""
    return {name: parameter.requires_grad_() for name, parameter in floating_parameters(model).items()}


def scalar(called: Called, parameters: dict[str, Tensor], batch: Any, number: int) -> Tensor:
    """The loss of batch `number`.

    Raises:
        BadParameter: it is not one number.
        NonFinite: it is NaN or Inf.
    """
    loss = called.at(parameters, batch)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise BadParameter(f"a loss is one number, the mean over the batch's examples; found {found}.")
    if not torch.isfinite(loss).all():
        raise NonFinite(f"the loss is {loss.item()} in batch {number}; look at that batch and at the model's dtype.")
    return loss.reshape(())


def gradients(loss: Tensor, parameters: dict[str, Tensor], *, again: bool = False, keep: bool = False) -> dict[str, Tensor]:
    """d loss / d parameter, zero where it does not depend on it; `again`: to be differentiated too; `keep`: the graph is needed again."""
    if not loss.requires_grad:
        return {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    found = torch.autograd.grad(loss, list(parameters.values()), create_graph=again, retain_graph=again or keep, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))
