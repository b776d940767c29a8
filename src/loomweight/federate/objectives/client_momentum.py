"""The direction of the whole federation in every local step.

Paper: Momentum Benefits Non-IID Federated Learning Simply and Provably (2023, https://arxiv.org/abs/2306.16504), algorithms 1 and 2.

No code of the authors was found. We differ where clients make different numbers of steps, which the paper does not have: the pooled update is divided by the
median over clients of the sum of their learning rates, which is rate * steps where all are alike.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...errors import BadParameter
from ..plain import Tensors
from .scaffold import zeros_of
from .term import Ended, Term

if TYPE_CHECKING:
    from ..work import Work

SPAN = "span"


@dataclass(frozen=True)
class ClientMomentum(Term):
    """FedAvg-M: every local gradient becomes beta * gradient + (1 - beta) * g, where g is the mean direction of the round before.

    g = - pooled update / (rate * steps). Nothing but one number is sent for it; each task is twice as large. After `Scaffold`,
    `objective=(Scaffold(), ClientMomentum(0.2))`, it is SCAFFOLD-M.

    Args:
        beta: the share of the client's own gradient, in (0, 1]; 1 is plain training.

    Raises:
        BadParameter: beta is out of its range.

    >>> from loomweight.federate import Strategy
    >>> strategy = Strategy(objective=(ClientMomentum(0.2),))
    """

    beta: float

    def __post_init__(self) -> None:
        if not 0 < self.beta <= 1:
            raise BadParameter(f"ClientMomentum: beta is in (0, 1], found {self.beta}.")

    def start(self, weights: Tensors) -> Tensors:
        """g = 0."""
        return zeros_of(weights)

    def pool(self, shared: Tensors, ended: Ended) -> Tensors:
        """The direction of this round."""
        span = median_span(ended, self.key)
        if span is None or not ended.rate:
            return shared
        return {name: (ended.before[name] - ended.after[name]).to(g.dtype) / (span * ended.rate) for name, g in shared.items()}

    def gradient(self, work: "Work") -> None:
        """Mixed."""
        common = work.shared_of(self)
        for name, param in work.params.items():
            if name in common and param.grad is not None and self.beta < 1:
                param.grad.lerp_(common[name].to(param.grad.dtype), 1 - self.beta)

    def stepped(self, work: "Work") -> None:
        """Count the learning rates."""
        count_span(self, work)

    def finish(self, work: "Work") -> Tensors:
        """The sum of the learning rates."""
        return {SPAN: torch.tensor(work.scratch_of(self).get(SPAN, 0.0), dtype=torch.float64)}


def count_span(term: Term, work: "Work") -> None:
    """Add the learning rate of a step to what the term has counted."""
    scratch = work.scratch_of(term)
    scratch[SPAN] = scratch.get(SPAN, 0.0) + work.rate


def median_span(ended: Ended, key: str) -> float | None:
    """The median of what the clients counted, so that a few hostile ones cannot scale it; None where no client made a step."""
    sent = [reply.extra.get(key, {}).get(SPAN) for reply in ended.replies]
    spans = [float(span) for span in sent if span is not None and span.numel() == 1 and span.is_floating_point()]
    middle = torch.tensor(spans, dtype=torch.float64).quantile(0.5).item() if spans else 0.0
    return middle if middle > 0 else None
