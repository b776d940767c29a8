"""Clients that answer seldom count the more, without knowing how seldom.

Paper: A Lightweight Method for Tackling Unknown Participation Statistics in Federated Averaging (2023, https://arxiv.org/abs/2306.03401).

Read with the authors' code (IBM/fedau, 6e9cce9): a client's weight is the mean of the intervals that ended before this round, and 1 while there is
none; a silence of `cutoff` rounds ends an interval too. What is kept is three whole numbers for each client, and one sum while a round lasts.
"""

from dataclasses import dataclass

from ...errors import BadParameter
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book
from .pool import added, stepped


@dataclass(frozen=True)
class FedAU(Aggregate):
    """w <- w + rate / N sum over the clients n that answer of s_n D_n, s_n the mean interval between answers of n so far.

    s_n estimates 1 / (how often n answers), so that the expected step is that of all N clients, of which each counts alike; a mean over those
    who answer leans to the diligent. A round in which nobody answers is one too: `Guard(few="skip")`.

    Args:
        cutoff: K, the longest interval that is counted; longer ones count as several of this length, which bounds the variance.
        rate: the server's learning rate.

    Raises:
        BadParameter: a cutoff below 1.

    >>> FedAU(cutoff=10)
    FedAU(cutoff=10, rate=1.0)
    """

    cutoff: int = 50
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.cutoff < 1:
            raise BadParameter(f"FedAU: cutoff is at least 1, found {self.cutoff}.")

    def start(self, weights: Tensors) -> Plain:
        """Nobody has answered yet."""
        return {"last": {}, "total": {}, "count": {}}

    def begin(self, state: Plain) -> Plain:
        """The three numbers of each client, to be carried on."""
        return {key: dict(state[key]) for key in ("last", "total", "count")}

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """Add to the sum, by the intervals that ended before this round."""
        last, total, count, client = held["last"], held["total"], held["count"], reply.client
        silent, rest = divmod(reply.round - last.get(client, -1) - 1, self.cutoff)
        intervals, rounds = count.get(client, 0) + silent, total.get(client, 0) + silent * self.cutoff
        added(held, reply, rounds / intervals if intervals else 1.0)
        last[client], total[client], count[client] = reply.round, rounds + rest + 1, intervals + 1

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """The weighted sum, divided by the number of all clients."""
        change = {name: total / len(book.clients) for name, total in held.get("sum", {}).items()}
        return stepped(weights, change, self.rate), {key: held[key] for key in ("last", "total", "count")}
