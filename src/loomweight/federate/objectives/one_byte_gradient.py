"""A client's half of zeroth-order training: a byte goes up.

Paper: Just One Byte (per gradient): A Note on Low-Bandwidth Decentralized Language Model Finetuning Using Shared Randomness (2023,
https://arxiv.org/abs/2306.10015), section 3. The arithmetic is that of `lowcomm.one_byte`, where there is no server.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..lowcomm.one_byte import encoded, projected
from ..plain import Tensors
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class OneByteGradient(Term):
    """The client makes no step; it sends (L(w + epsilon z) - L(w - epsilon z)) / (2 epsilon) over all its data, in a byte, for a z that follows from its name.

    Args:
        epsilon: how far the loss is measured.
        seed: of all z, that of `OneByteStep`.

    >>> OneByteGradient().key
    'OneByteGradient'
    """

    epsilon: float = 1e-3
    seed: int = 0

    def order(self, work: "Work", batches: Iterable[Any]) -> Iterable[Any]:
        """No batch."""
        return ()

    def finish(self, work: "Work") -> Tensors:
        """The byte; there is no update."""
        weights = {name: param.data for name, param in work.params.items() if name in work.task.weights}
        work.model.eval()
        byte = encoded(projected(lambda: _loss(work), weights, (self.seed, work.task.client, work.task.round), self.epsilon))
        work.model.train()
        work.update = {}
        return {"byte": torch.tensor([byte], dtype=torch.int8)}


@torch.no_grad()
def _loss(work: "Work") -> float:
    total = 0.0
    for batch in zip(*(part.split(work.local.batch) for part in work.data), strict=True):
        total += float(work.local.loss(work.model(*batch[:-1]), batch[-1])) * len(batch[-1])
    return total / len(work.data[-1])
