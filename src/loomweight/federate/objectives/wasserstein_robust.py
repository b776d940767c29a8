"""Training on the worst inputs near the client's own.

Paper: On the Generalization of Wasserstein Robust Federated Learning (2022, https://arxiv.org/abs/2206.01432), algorithm 1.

Read: dual-grp/WAFL, FLAlgorithms/users/userbase.py (`wasssertein`) at 459e9cfb: the cost is gamma/2 times the squared distance, and a step of the ascent is
that of a single example, whatever the size of the batch. We differ: there is no early end, and BatchNorm's statistics are not touched by the search.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import BadParameter
from .aside import aside
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class WassersteinRobust(Term):
    """WAFL: each batch is trained on at z' = argmax loss(z') - gamma/2 ||z' - z||^2, from `steps` of gradient ascent on the inputs.

    Where gamma is above the smoothness of the loss in its inputs, the search is concave; the smaller it is, the wider the ball. Targets are
    not moved. A step costs `steps` passes more.

    Args:
        gamma: the price of moving an input, positive.
        steps: of the ascent.
        rate: of the ascent.

    Raises:
        BadParameter: a number out of its range; while training, inputs that are no floating tensors.

    >>> from loomweight.federate import Strategy
    >>> strategy = Strategy(objective=(WassersteinRobust(gamma=5.0),))
    """

    gamma: float
    steps: int = 10
    rate: float = 0.1

    def __post_init__(self) -> None:
        if not self.gamma > 0 or self.steps < 0 or not self.rate > 0:
            raise BadParameter(f"WassersteinRobust: gamma and rate are positive and steps not negative, found {self.gamma}, {self.rate} and {self.steps}.")

    def order(self, work: "Work", batches: Iterable[Any]) -> Iterator[Any]:
        """The batches with their inputs moved, at the weights of that moment."""
        for batch in batches:
            yield (*self._worst(work, list(batch[:-1]), batch[-1]), batch[-1])

    def _worst(self, work: "Work", inputs: list[Tensor], targets: Tensor) -> list[Tensor]:
        if not all(tensor.is_floating_point() for tensor in inputs):
            raise BadParameter("WassersteinRobust: inputs are moved along gradients, so all must be floating tensors.")
        moved, count = [tensor.detach().clone() for tensor in inputs], len(targets)
        for _ in range(self.steps):
            leaves = [tensor.requires_grad_() for tensor in moved]
            gradients = torch.autograd.grad(work.local.loss(aside(work.model, leaves), targets), leaves)
            moved = [
                (leaf + self.rate * (count * gradient - self.gamma * (leaf - tensor))).detach()
                for leaf, gradient, tensor in zip(leaves, gradients, inputs, strict=True)
            ]
        return moved
