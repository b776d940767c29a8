"""Mean over examples of squared gradients: the frame of the diagonal Fisher information, and the same of any loss."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..weights import Weights
from . import batches
from .collect import Run, collect
from .fold import Fold, State, as_weights, floating_parameters, refuse_nonfinite, zeros
from .gradients import Loss
from .per_example import SquaredGradients


@dataclass(frozen=True)
class Squares(Fold):
    """Sums over examples of squared gradients of what `rows` says."""

    @abstractmethod
    def rows(self, model: nn.Module, example: Any, extra: Tensor) -> Tensor:
        """A row of numbers to differentiate, of a batch of one example."""

    @abstractmethod
    def extras(self, batch: Any, state: State) -> Tensor:
        """What belongs to each example besides its inputs."""

    @abstractmethod
    def title(self) -> str:
        """What the result is called."""

    @cached_property
    def squared(self) -> SquaredGradients:
        """What differentiates; it remembers whether the model vectorizes."""
        return SquaredGradients(self.model, floating_parameters(self.model), self.rows)

    def start(self) -> State:
        """No example yet."""
        return State(zeros(self.model))

    def add(self, state: State, batch: Any) -> State:
        """Add the squares of the batch's examples."""
        found = self.squared(batch, self.extras(batch, state))
        refuse_nonfinite(found, "gradient", state.batches)
        for name, squares in found.items():
            state.sums[name] += squares
        return state

    def value(self, state: State) -> Weights:
        """The mean over the examples."""
        means = {name: (total / state.examples).cpu() for name, total in state.sums.items()}
        return as_weights(self.model, means, f"{self.title()} of {type(self.model).__name__}, {state.examples} examples")


@dataclass(frozen=True)
class SquaredLoss(Squares):
    """Sums of squared gradients of a loss."""

    loss: Loss
    words: ClassVar[str] = "squared gradients"

    def rows(self, model: nn.Module, example: Any, extra: Tensor) -> Tensor:
        """The loss, as a row of one number."""
        return self.loss(model, example).reshape(1)

    def extras(self, batch: Any, state: State) -> Tensor:
        """Nothing: a blank for each example."""
        first = batches.tensors(batch)[0]
        return torch.zeros(len(first), device=first.device)

    def title(self) -> str:
        """The same words as the bar's."""
        return self.words


def squared_gradients(model: nn.Module, loader: Iterable[Any], loss: Loss, *, samples: int | None = None, run: Run | None = None) -> Weights:
    """Mean over examples of the squared gradient of any loss: the empirical Fisher of models that are no classifiers.

    With half the squared error of a regression it is the empirical Fisher under a Gaussian of variance 1.

    Args:
        model, loader, samples, run: as for `fisher`.
        loss: (model, batch) -> one number; it is called with batches of one example.

    Raises:
        BadParameter, NonFinite: as for `fisher`.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> batch = (torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]]))     # gradient (w x - y) x: 1 and 4
    >>> squared_gradients(model, [batch], lambda m, b: (m(b[0]) - b[1]).square().sum() / 2)["weight"]
    tensor([[8.5000]])
    """
    return collect(SquaredLoss(model, loss), loader, run or Run(), samples)
