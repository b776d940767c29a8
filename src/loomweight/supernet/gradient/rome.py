"""Single paths, the topology apart from the operations, gradients summed over several draws.

Paper: ROME: Robustifying Memory-Efficient NAS via Topology Disentanglement and Gradient Accumulation (2020, https://arxiv.org/abs/2011.11233), section 4.

No code of the authors was found to compare with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...errors import BadParameter
from ..step import Loss
from .descent import Batch, descend, gradients, loss_of
from .gumbel import Gumbel
from .relaxed import Relaxed


@dataclass(eq=False)
class Rome:
    """Each step averages gradients over several single-path networks: first those of the weights, then those of all alphas.

    The edges that a node keeps (`Join`) have alphas of their own, beside those of the operations on them (`Choice`), and are drawn by
    Gumbel-Top2, so that what is searched has as many inputs a node as what is derived. One network at a time is in memory.

    Args:
        mixed: relaxed with `Gumbel`, in training mode; its `done` sets the temperature.
        weights, alphas: optimizers.
        loss: (outputs, targets) -> mean loss.
        samples: networks a step; the paper's K.

    Raises:
        BadParameter: other coefficients, of which all options run; or no sample.
    """

    mixed: Relaxed
    weights: Optimizer
    alphas: Optimizer
    loss: Loss
    samples: int = 4

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise BadParameter(f"at least one network is drawn a step, found samples={self.samples}.")
        for name, method in self.mixed.coefficients.items():
            if not isinstance(method, Gumbel):
                raise BadParameter(f"ROME runs single paths, but {name!r} is relaxed by {type(method).__name__}; relax the model with Gumbel().")

    def step(self, train: Batch, valid: Batch) -> float:
        """One step on the weights, one on the alphas; the mean training loss."""
        weights, alphas = list(self.mixed.weights.values()), list(self.mixed.alphas.values())
        loss, found = self._averaged(train, weights)
        descend(self.weights, weights, found)
        _, found = self._averaged(valid, alphas)
        descend(self.alphas, alphas, found)
        return loss

    def _averaged(self, batch: Batch, tensors: Sequence[Tensor]) -> tuple[float, list[Tensor | None]]:
        """The mean loss and gradient over draws; None for what no draw used."""
        total = 0.0
        sums: list[Tensor | None] = [None] * len(tensors)
        for _ in range(self.samples):
            value = loss_of(self.mixed, self.loss, batch)
            total += float(value.detach())
            for i, gradient in enumerate(gradients(value, tensors)):
                if gradient is not None:
                    before = sums[i]
                    sums[i] = gradient if before is None else before + gradient
        with torch.no_grad():
            return total / self.samples, [None if each is None else each / self.samples for each in sums]
