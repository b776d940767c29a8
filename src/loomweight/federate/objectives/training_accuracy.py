"""How well a client's trained model fits its own data: for aggregates that ask."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..plain import Tensors
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class TrainingAccuracy(Term):
    """The client sends the accuracy of its trained model on its own data, and changes nothing in its training.

    >>> TrainingAccuracy().key
    'TrainingAccuracy'
    """

    def finish(self, work: "Work") -> Tensors:
        """The accuracy, in [0, 1]."""
        return {"accuracy": torch.tensor(accuracy(work.model, dict(work.model.state_dict()), work), dtype=torch.float64)}


@torch.no_grad()
def accuracy(model: nn.Module, weights: dict[str, Tensor], work: "Work") -> float:
    """Of the model with these weights on the client's data, batch after batch, without dropout; the model is left in training."""
    model.eval()
    batches = zip(*(part.split(work.local.batch) for part in work.data), strict=True)
    right = sum(int((torch.func.functional_call(model, weights, batch[:-1]).argmax(-1) == batch[-1]).sum()) for batch in batches)
    model.train()
    return right / max(work.data[-1].numel(), 1)
