"""An asynchronous server with a buffer: a step each time so many updates have come.

Paper: Federated Learning with Buffered Asynchronous Aggregation (2021, https://arxiv.org/abs/2106.06639), algorithm 1 (FedBuff). With a buffer of one update
and `Polynomial` it is Asynchronous Federated Optimization (2019, https://arxiv.org/abs/1903.03934) in terms of updates.

We differ: a client is asked again as soon as it has answered, where the paper draws another one; `Sample` bounds how many are busy, and draws.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from ...errors import BadParameter
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book
from .pool import added, stepped
from .staleness import Polynomial, Staleness


@dataclass(frozen=True)
class Buffered(Aggregate):
    """w <- w + rate / K sum_k s(t_k) update_k, when K updates have come; t_k are the rounds that ended since update k's weights were sent.

    Fast clients are heard more often: where clients differ in their data, the weights go to the wrong place. `FedFix` corrects that. The factors
    are not divided out: a buffer of old updates makes a smaller step.

    Args:
        size: K; 1 makes a step with each answer.
        staleness: s: `Polynomial`, `Hinge`, or any function of t.
        rate: the server's learning rate.
        counts: weigh updates by examples, relative to the mean of the buffer; the paper counts them alike.

    Raises:
        BadParameter: no size.

    >>> Buffered(size=3).staleness(3)
    0.5
    """

    size: int = 10
    staleness: Staleness = field(default_factory=Polynomial)
    rate: float = 1.0
    counts: bool = False

    continuous: ClassVar[bool] = True
    sums: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise BadParameter(f"Buffered: the buffer holds at least 1 update, found {self.size}.")

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """Add to the sum."""
        counted = float(reply.weight) if self.counts else 1.0
        added(held, reply, counted * self.staleness(reply.metrics["behind"]))
        held["all"] = held.get("all", 0.0) + counted

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """A step along the mean of the buffer."""
        return stepped(weights, {name: total / held["all"] for name, total in held.get("sum", {}).items()}, self.rate), state

    def ready(self, book: Book) -> bool:
        """When the buffer is full."""
        return len(book.answered) >= self.size
