"""The clients' half of FedAMD: anchors look where to go, miners go there.

Paper: Anchor Sampling for Federated Learning with Partial Client Participation (2022, https://arxiv.org/abs/2206.05891), algorithm 1.

Code read: HarliWu/FedAMD at 73596d5, main_fmnist.py and algo/fedamd.py. We differ: a client that is asked before any bullseye is known is an anchor, where
there all clients' bullseyes are computed beforehand; the local steps go on over batches, where there the copy of the model before the step is
BatchNorm's too.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import BadParameter
from ..plain import Tensors
from .aside import gradient_aside
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class AnchorSampling(Term):
    """An anchor sends the gradient of a large batch at the received weights (its bullseye) and does not train. A miner trains along

        v_0 = mean of all clients' bullseyes,   v_k = v_{k-1} + gradient_k(w_k) - gradient_k(w_{k-1}),   w_{k+1} = w_k - rate v_k

    where gradient_k is of the k-th small batch. The aggregate `FedAMD` keeps the bullseyes and tells miners their mean; use SGD without momentum.

    Args:
        probability: of being an anchor in a task.
        every: rounds, instead: in every so many-th all are anchors, in the others none.
        batch: examples of the large batch; None is all of a client's.

    Raises:
        BadParameter: a number out of its range.

    >>> AnchorSampling(every=3).key
    'AnchorSampling'
    """

    probability: float = 0.2
    every: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1 or (self.every or 1) < 1 or (self.batch or 1) < 1:
            raise BadParameter(f"AnchorSampling: probability in (0, 1], every and batch at least 1, found {self.probability}, {self.every} and {self.batch}.")

    def begin(self, work: "Work") -> None:
        """The role; an anchor's gradient."""
        generator = torch.Generator().manual_seed(work.task.seed ^ 1)
        often = work.task.round % self.every == 0 if self.every else torch.rand((), generator=generator).item() < self.probability
        if work.told and not often:
            return
        count = len(work.data[0])
        chosen = torch.arange(count) if self.batch is None else torch.randperm(count, generator=generator)[: self.batch]
        place = {name: param.detach() for name, param in work.params.items()}
        work.scratch_of(self)["bullseye"] = gradient_aside(work, place, [part[chosen] for part in work.data])
        work.steps = 0

    def loss(self, work: "Work", batch: Any, loss: Tensor) -> Tensor:
        """As it is; the batch is looked at again."""
        work.scratch_of(self)["batch"] = batch
        return loss

    def gradient(self, work: "Work") -> None:
        """A miner's direction."""
        scratch = work.scratch_of(self)
        grads = {name: param.grad for name, param in work.params.items() if param.grad is not None}
        before = gradient_aside(work, scratch["at"], scratch["batch"]) if "at" in scratch else grads
        direction = scratch.get("direction", work.told)
        scratch["direction"] = {name: direction[name] + grad - before[name] for name, grad in grads.items()}
        scratch["at"] = {name: param.detach().clone() for name, param in work.params.items()}
        for name, grad in grads.items():
            grad.copy_(scratch["direction"][name])

    def finish(self, work: "Work") -> Tensors:
        """An anchor sends its bullseye, and no update."""
        bullseye: Tensors = work.scratch_of(self).get("bullseye", {})
        if bullseye:
            work.update = {}
        return bullseye
