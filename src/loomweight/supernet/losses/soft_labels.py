"""Soft labels: what a smaller network learns from a larger one's probabilities.

Papers: BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models (2020, https://arxiv.org/abs/2003.11142), in-place
distillation; Distilling the Knowledge in a Neural Network (2015, https://arxiv.org/abs/1503.02531), for the temperature.

The original code of the sandwich rule uses the cross entropy with soft labels; we subtract the entropy of the labels, which has no gradient, so
that equal outputs have loss 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadParameter


@dataclass(frozen=True)
class SoftLabels:
    """T^2 mean KL(softmax(teacher / T) || softmax(student / T)), the mean over everything but the classes.

    Args:
        temperature: T; the factor T^2 keeps the size of gradients.
        dim: the axis of the classes.

    Raises:
        BadParameter: the temperature is not positive.

    >>> SoftLabels()(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1e9]]))  # a uniform answer where the teacher is sure: log 2
    tensor(0.6931)
    """

    temperature: float = 1.0
    dim: int = -1

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise BadParameter(f"a temperature is positive, found {self.temperature}.")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See the class; classes whose logits are -inf in both add nothing."""
        log_q = torch.log_softmax(student / self.temperature, self.dim)
        log_p = torch.log_softmax(teacher.detach() / self.temperature, self.dim)
        p = log_p.exp()
        return self.temperature**2 * (p * (log_p - log_q)).masked_fill(p == 0, 0.0).sum(self.dim).mean()
