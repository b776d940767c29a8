"""Whatever has arrived at fixed times, weighed so that slow clients count as much as they should.

Paper: A General Theory for Federated Optimization with Asynchronous and Heterogeneous Clients Updates (2022, https://arxiv.org/abs/2206.10189),
equation 5 (the stochastic weights), section 4 (synchronous, asynchronous, FedFix, FedBuff as cases of it).

Code read: Accenture/Labs-Federated-Learning at 1c896f0 (branch asynchronous_FL), FL/clients_parameters.py and FL/clients_schedule.py. There the weight of
client i is p_i ceil(tau_i / interval), or p_i tau_i sum_j 1 / tau_j without an interval, for durations tau_i that are known before. We differ: the
number of rounds that a task was out is counted, which is the same number where durations are fixed, needs no knowledge of them, and stays right on
average where they are random.
"""

from dataclasses import dataclass
from typing import ClassVar

from ...errors import BadParameter
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book
from .pool import added, stepped


@dataclass(frozen=True)
class FedFix(Aggregate):
    """w <- w + rate sum_i p_i (t_i + 1) update_i over those that have come, p_i = n_i / sum_j n_j over all clients.

    t_i + 1 is the number of rounds that client i's task was out. A client that takes k rounds comes in one of k, with k times its weight: on average
    over the rounds each client has weight p_i, which is what makes the optimum the right one. A round ends after `interval`, or when `size`
    clients have answered; they wait for its end and go on with its weights.

    - interval at least as long as the slowest task, or size = all clients: synchronous federated averaging
    - size = 1: asynchronous federated averaging
    - size = c: buffered

    Examples n_j of clients that were never heard are taken to be the mean of the others'.

    Args:
        interval: between aggregations, in the units of the clock; None has no fixed times.
        size: of a buffer that ends a round early; None waits for the time.
        rate: the server's learning rate. p_i is a share of all clients: where only some are busy at a time (`Sample`), say clients / busy.
        fair: False leaves out the factor t_i + 1: fast clients win.

    Raises:
        BadParameter: neither interval nor size, or one that is not positive.

    >>> FedFix(interval=10.0).closes(Book(0, ("a",), opened=5.0))
    15.0
    """

    interval: float | None = None
    size: int | None = None
    rate: float = 1.0
    fair: bool = True

    continuous: ClassVar[bool] = True
    waits: ClassVar[bool] = True
    sums: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if (self.interval is None and self.size is None) or not (self.interval or 1) > 0 or (self.size or 1) < 1 or 0 in (self.interval, self.size):
            raise BadParameter(f"FedFix: a positive interval, or a size of at least 1, found {self.interval} and {self.size}.")

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """Add to the sum."""
        added(held, reply, float(reply.weight) * (reply.metrics["behind"] + 1 if self.fair else 1.0))
        held.setdefault("examples", {})[reply.client] = float(reply.weight)

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """A step; the state is the examples of the clients that were heard."""
        examples = {**state.get("examples", {}), **held["examples"]}
        everything = sum(examples.values()) * len(book.clients) / len(examples)
        change = {name: total / everything for name, total in held.get("sum", {}).items()}
        return stepped(weights, change, self.rate), {"examples": examples}

    def ready(self, book: Book) -> bool:
        """When the buffer is full."""
        return self.size is not None and len(book.answered) >= self.size

    def closes(self, book: Book) -> float | None:
        """After the interval."""
        return None if self.interval is None else book.opened + self.interval
