"""What a term of the local objective may do. Every method has a neutral default: a term says only what it changes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..plain import Plain, Reply, Tensors

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class Ended:
    """A round that has ended, as a term sees it.

    Args:
        replies: that counted, without their updates; `replies[i].extra[term.key]` is what was sent for the term.
        before: the travelling tensors at its start.
        after: and now.
        clients: how many there are in all.
        rate: of the aggregate's step along the pooled update.
        pooling: the aggregate's state now.
    """

    replies: Sequence[Reply]
    before: Tensors
    after: Tensors
    clients: int
    rate: float = 1.0
    pooling: Plain = field(default_factory=dict)


class Term:
    """A part of the objective of local training, a frozen dataclass; the objective of a strategy is a tuple of terms.

    The server's side and the client's side of a method stand together here. What the server keeps for a term travels down as
    `task.shared[term.key]`; what a client keeps for it is `work.memory_of(term)`; what it sends for it is `reply.extra[term.key]`.
    """

    @property
    def key(self) -> str:
        """The name under which the term's tensors travel."""
        return type(self).__name__

    def start(self, weights: Tensors) -> Tensors:
        """Server: what the term keeps at first."""
        return {}

    def pool(self, shared: Tensors, ended: "Ended") -> Tensors:
        """Server: what it keeps after a round, given what it kept."""
        return shared

    def begin(self, work: "Work") -> None:
        """Client: before the first step."""

    def order(self, work: "Work", batches: Iterable[Any]) -> Iterable[Any]:
        """Client: the batches of the local training."""
        return batches

    def loss(self, work: "Work", batch: Any, loss: Tensor) -> Tensor:
        """Client: the loss of a batch, given the loss so far; `work.outputs` are the model's."""
        return loss

    def gradient(self, work: "Work") -> None:
        """Client: between backward and the optimizer's step."""

    def stepped(self, work: "Work") -> None:
        """Client: after the optimizer's step."""

    def finish(self, work: "Work") -> Tensors:
        """Client: after the last step; what travels up. It may change `work.update`."""
        return {}

    def sent(self, work: "Work", seen: Tensors) -> None:
        """Client: `seen` is the update as the server will have it after the message was opened."""
