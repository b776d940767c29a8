"""Confident outputs cost something.

Paper: Tackling Data Heterogeneity in Federated Learning via Loss Decomposition (2024, https://arxiv.org/abs/2408.12300).

Read with the authors' code (Zeng-Shuang/FedLD, 9440494): the norm is that of the probabilities of a whole batch, where the paper's
summary speaks of logits. The server's half of
the method is `PrincipalDirections`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class MarginControl(Term):
    """loss + penalty log(1 + |softmax(outputs)|^2), with the norm over all outputs of the batch.

    Probabilities spread evenly over c classes have the smallest norm, so that no client becomes surer of its own classes than it must.

    Args:
        penalty: the paper's default is 0.03.

    >>> from types import SimpleNamespace
    >>> MarginControl(1.0).loss(SimpleNamespace(outputs=torch.zeros(2, 4)), None, torch.tensor(0.0))  # log(1 + 2 * 4 / 16)
    tensor(0.4055)
    """

    penalty: float = 0.03

    def loss(self, work: "Work", batch: Any, loss: Tensor) -> Tensor:
        """With the penalty."""
        return loss + self.penalty * work.outputs.softmax(1).square().sum().log1p()
