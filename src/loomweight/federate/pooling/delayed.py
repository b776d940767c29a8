"""Asynchronous local SGD as an aggregate: delayed Nesterov momentum, and local steps by speed.

Paper: Asynchronous Local-SGD Training for Language Modeling (2024, https://arxiv.org/abs/2401.09135), algorithm 3 (DN) and section 5 (DyLU).

The arithmetic is `DelayedNesterov`'s and `local_steps`'s; this makes them an aggregate for `simulate` and the other homes.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..lowcomm.delayed_nesterov import DelayedNesterov
from ..lowcomm.local_steps import local_steps
from ..plain import Plain, Tensors
from .aggregate import Aggregate, Book, kept


@dataclass(frozen=True)
class Delayed(Aggregate):
    """Each answer is a step of the server (see `DelayedNesterov`), and its client goes on at once with the weights that it made.

    Args:
        nesterov: the server's optimizer.
        speeds: steps per second by client; the fastest makes `most` steps, the others as many as take the same time. None leaves steps to `Local`.
        most: steps of the fastest client.

    >>> Delayed(speeds={"a": 4.0, "b": 1.0}, most=8).steps({}, "b")
    2
    """

    nesterov: DelayedNesterov = field(default_factory=DelayedNesterov)
    speeds: Mapping[str, float] | None = None
    most: int = 50

    continuous: ClassVar[bool] = True

    @property
    def rate(self) -> float:  # type: ignore[override]
        """The optimizer's."""
        return self.nesterov.lr

    def start(self, weights: Tensors) -> Plain:
        """The optimizer's state."""
        return self.nesterov.start(weights)

    def steps(self, state: Plain, client: str) -> int | None:
        """As many as the client's speed allows."""
        return None if self.speeds is None else local_steps(self.speeds, self.most)[client]

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """A step along the answer."""
        moved = copy.deepcopy(state)
        for reply in kept(held):
            moved = self.nesterov.push(moved, {name: -tensor for name, tensor in reply.update.items()})
        return self.nesterov.weights(moved), moved

    def ready(self, book: Book) -> bool:
        """At each answer."""
        return len(book.answered) > 0
