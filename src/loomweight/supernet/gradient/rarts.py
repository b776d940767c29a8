"""Two copies of the weights, one on each half of the data, share the alphas.

Paper: RARTS: An Efficient First-Order Relaxed Architecture Search Method (2020, https://arxiv.org/abs/2008.03901), section 3.

No code of the authors was found to compare with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...errors import BadParameter
from ..step import Loss
from .descent import Batch, descend, gradients, loss_of
from .relaxed import Relaxed
from .state import copy_into, group, grouped


@dataclass(eq=False)
class Rarts:
    """Minimise L_valid(y, alpha) + share x L_train(w, alpha) + (pull / 2) ||y - w||^2 by a step on w, one on y, one on alpha, each from the last.

    All data teach the alphas, first derivatives alone are needed, and nothing is nested.

    Args:
        mixed: the relaxed model, in training mode; its weights are w.
        weights: steps on w.
        second: makes the optimizer of y from its tensors, `lambda tensors: torch.optim.SGD(tensors, 0.1)`.
        alphas: steps on the alphas.
        loss: (outputs, targets) -> mean loss.
        share: lambda of the paper.
        pull: beta of the paper.

    Raises:
        BadParameter: a factor is not above 0.
    """

    mixed: Relaxed
    weights: Optimizer
    second: Callable[[list[Tensor]], Optimizer]
    alphas: Optimizer
    loss: Loss
    share: float = 1.0
    pull: float = 1e-3

    def __post_init__(self) -> None:
        if not (self.share > 0 and self.pull > 0):
            raise BadParameter(f"the factors of RARTS are above 0, found share={self.share} and pull={self.pull}.")
        self.copy = {name: tensor.detach().clone().requires_grad_() for name, tensor in self.mixed.weights.items()}
        self.copy_optimizer = self.second(list(self.copy.values()))

    def step(self, train: Batch, valid: Batch) -> float:
        """One step on each; the training loss before it."""
        w, y, alphas = list(self.mixed.weights.values()), list(self.copy.values()), list(self.mixed.alphas.values())
        value = self._train(train)
        descend(self.weights, w, gradients(self.share * value + self._apart(), w))
        descend(self.copy_optimizer, y, gradients(loss_of(self.mixed, self.loss, valid, self.copy) + self._apart(), y))
        both = self.share * self._train(train) + loss_of(self.mixed, self.loss, valid, self.copy) + self.mixed.penalty()
        descend(self.alphas, alphas, gradients(both, alphas))
        return float(value.detach())

    def state_dict(self) -> dict[str, Any]:
        """The copy and its optimizer; the relaxed model and its optimizers have states of their own."""
        return {**grouped(copy=self.copy), "optimizer": self.copy_optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            NamesDiffer, ShapesDiffer: the state is of another model.
        """
        copy_into(self.copy, group(state, "copy"), "the copy's")
        self.copy_optimizer.load_state_dict(state["optimizer"])

    def _train(self, train: Batch) -> Tensor:
        return loss_of(self.mixed, self.loss, train)

    def _apart(self) -> Tensor:
        return 0.5 * self.pull * torch.stack([(self.copy[name] - w).square().sum() for name, w in self.mixed.weights.items()]).sum()
