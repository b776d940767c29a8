"""Workers that come when they like and do as many steps as they like.

Paper: Anarchic Federated Learning (2021, https://arxiv.org/abs/2108.09875), algorithms 1 (AFA-CD, across devices) and 2 (AFA-CS, across silos).

No code of the authors is published. We differ: an update is divided by the number of steps that its client says it made, where the paper has clients
send the mean of their gradients, which is the same for SGD up to the local learning rate; a client that made no step counts with no change.
"""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, ClassVar

import torch

from ...errors import BadParameter
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book
from .pool import added, averaged, stepped


@dataclass(frozen=True)
class Anarchic(Aggregate):
    """w <- w + rate / m sum_i update_i / steps_i over m answers (AFA-CD), or over the latest answer of every worker (AFA-CS).

    Divided by their steps, updates of workers that did much do not outweigh those of workers that did little. With `silos`, a worker that does not
    answer in a round is there with its latest: the variance that comes of who happens to answer goes away, for one model of memory a client.

    Args:
        size: m, the answers that end a round.
        rate: the server's learning rate, over the mean update of one step.
        silos: keep the latest update of every worker.

    Raises:
        BadParameter: no size.

    >>> Anarchic(size=2, rate=5.0).ready(Book(0, ("a", "b"), answered=["a"]))
    False
    """

    size: int = 10
    rate: float = 1.0
    silos: bool = False

    continuous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise BadParameter(f"Anarchic: a round ends after at least 1 answer, found {self.size}.")

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """Add the update of one step to the sum, or keep it as its client's latest."""
        once = _of_one_step(reply)
        if self.silos:
            held.setdefault("latest", {})[reply.client] = once.update
        else:
            added(held, once, 1.0)

    def wrong(self, reply: Reply) -> str | None:
        """Where it does not say how many steps it made."""
        steps = reply.metrics.get("steps", -1.0)
        return None if isfinite(steps) and steps >= 0 else f"it says that it made {steps} steps"

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """A step; across silos the state is the latest update of each worker."""
        if not self.silos:
            return stepped(weights, averaged(held), self.rate), state
        latest = {**state.get("latest", {}), **held["latest"]}
        mean: dict[str, Any] = {}
        for client in sorted(latest):
            added(mean, Reply(client, 0, latest[client]), 1.0)
        return stepped(weights, averaged(mean), self.rate), {"latest": latest}

    def ready(self, book: Book) -> bool:
        """When so many have answered."""
        return len(book.answered) >= self.size


def _of_one_step(reply: Reply) -> Reply:
    steps = max(reply.metrics["steps"], 1.0)
    update = {name: tensor.to(torch.promote_types(tensor.dtype, torch.float32)) / steps for name, tensor in reply.update.items()}
    return replace(reply, update=update)
