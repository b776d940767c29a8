"""Step sizes that clients find by themselves.

Paper: Adaptive Federated Learning with Auto-Tuned Clients (2023, https://arxiv.org/abs/2306.11201), algorithm 1.

Read: jlylekim/auto-tuned-FL, src/adsgd.py and src/update.py at 513854de. As there, both gradients of a difference are of one batch, which takes a second
gradient a step; without, the noise of two batches makes the steps shrink. We differ: the first step has the optimizer's rate as it is, as in the paper, nothing
is added to a step size, and BatchNorm's statistics are not touched by the second pass.
"""

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...errors import BadParameter
from .aside import gradient_aside
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class DeltaSGD(Term):
    """The learning rate of step k is min(gamma ||x_k - x_k-1|| / (2 ||g(x_k) - g(x_k-1)||), sqrt(1 + delta theta) * the rate before).

    theta is the ratio of the last two rates, at first 1; g is the gradient of the loss of the batch in work, at both places. The optimizer is plain SGD,
    whose rate is that of the first step; each task begins with it anew. Put it before terms that change gradients; what a term adds to the loss is
    in the second pass of none, so with such a term say `same_batch=False`.

    Args:
        gamma: how near to the inverse of the local smoothness.
        delta: how fast steps may grow.
        same_batch: take both gradients on one batch; otherwise g(x_k-1) is the gradient of the step before, and there is no second pass.

    Raises:
        BadParameter: gamma is not positive, or delta is negative.

    >>> from functools import partial
    >>> from loomweight.federate import Local, Strategy
    >>> strategy = Strategy(objective=(DeltaSGD(),), local=Local(optimizer=partial(torch.optim.SGD, lr=0.2)))
    """

    gamma: float = 2.0
    delta: float = 0.1
    same_batch: bool = True

    def __post_init__(self) -> None:
        if not self.gamma > 0 or not self.delta >= 0:
            raise BadParameter(f"DeltaSGD: gamma is positive and delta not negative, found {self.gamma} and {self.delta}.")

    def loss(self, work: "Work", batch: Any, loss: Tensor) -> Tensor:
        """As it is; the batch is looked at again."""
        work.scratch_of(self)["batch"] = batch
        return loss

    def gradient(self, work: "Work") -> None:
        """The rate of this step."""
        scratch = work.scratch_of(self)
        if "at" in scratch:
            before = gradient_aside(work, scratch["at"], scratch["batch"]) if self.same_batch else scratch["gradient"]
            moved = _norm([param.detach() - scratch["at"][name] for name, param in work.params.items()])
            turned = _norm([param.grad - before[name] for name, param in work.params.items() if param.grad is not None])
            bound = sqrt(1 + self.delta * scratch["theta"]) * work.rate
            rate = min(self.gamma * moved / (2 * turned), bound) if moved > 0 and turned > 0 else bound
            scratch["theta"] = rate / work.rate
            for group in work.optimizer.param_groups if work.optimizer else ():
                group["lr"] = rate
        scratch.setdefault("theta", 1.0)
        scratch["at"] = {name: param.detach().clone() for name, param in work.params.items()}
        if not self.same_batch:
            scratch["gradient"] = {name: param.grad.clone() for name, param in work.params.items() if param.grad is not None}


def _norm(tensors: list[Tensor]) -> float:
    return sqrt(sum(float(tensor.square().sum()) for tensor in tensors))
