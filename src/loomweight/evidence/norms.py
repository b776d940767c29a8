"""How strongly a loss pulls at every parameter."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import nn

from ..weights import Weights
from . import batches
from .collect import Run, collect
from .fold import Fold, State, as_weights, refuse_nonfinite, zeros
from .gradients import Called, Loss, gradients, leaves, scalar
from .task import Task


def gradient_norms(model: nn.Module, loader: Iterable[Any], loss: Loss | None = None, *, samples: int | None = None, run: Run | None = None) -> Weights:
    """Euclidean norm of the loss's gradient by every parameter: the mean over batches, each counted by its examples.

    Norms of batches' gradients depend on the size of the batches; compare parameters, or models on the same loader.

    Args:
        model, loader, samples, run: as for `fisher`.
        loss: (model, batch) -> the mean over the batch's examples; by default that of `Task()`, cross entropy.

    Returns:
        One scalar a parameter.

    Raises:
        BadParameter: no example, or a loss that is not one number.
        NonFinite: the loss or a gradient is NaN or Inf; the message names the parameter and the batch.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> gradient_norms(model, [torch.tensor([[3.0, 4.0]])], lambda m, x: m(x).mean())["weight"]
    tensor(5.)
    """
    return collect(GradientNorms(model, loss or Task().loss), loader, run or Run(), samples)


@dataclass(frozen=True)
class GradientNorms(Fold):
    """Sums of norms, by examples."""

    loss: Loss
    words: ClassVar[str] = "gradient norms"

    @cached_property
    def called(self) -> Called:
        """The loss as a module."""
        return Called(self.model, self.loss)

    def start(self) -> State:
        """No example yet."""
        return State({name: total.new_zeros(()) for name, total in zeros(self.model).items()})

    def add(self, state: State, batch: Any) -> State:
        """Add one batch's norms, by its number of examples."""
        parameters = leaves(self.model)
        with torch.enable_grad():
            found = gradients(scalar(self.called, parameters, batch, state.batches), parameters)
        refuse_nonfinite(found, "gradient", state.batches)
        for name, gradient in found.items():
            state.sums[name] += batches.size(batch) * torch.linalg.vector_norm(gradient, dtype=state.sums[name].dtype)
        return state

    def value(self, state: State) -> Weights:
        """The mean over the batches."""
        means = {name: (total / state.examples).cpu() for name, total in state.sums.items()}
        return as_weights(self.model, means, f"gradient norms of {type(self.model).__name__}, {state.examples} examples")
