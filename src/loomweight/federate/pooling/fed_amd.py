"""The server's half of FedAMD.

Paper: Anchor Sampling for Federated Learning with Partial Client Participation (2022, https://arxiv.org/abs/2206.05891), algorithm 1.

Code read: HarliWu/FedAMD at 73596d5, main_fmnist.py.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book
from .pool import added, averaged, stepped

KEY = "AnchorSampling"


@dataclass(frozen=True)
class FedAMD(Aggregate):
    """w <- w + rate mean of the miners' updates; anchors' gradients are kept, the latest of each client, and miners are told their mean.

    It belongs to the term `AnchorSampling`. It keeps a model of memory for each client that was an anchor.

    Args:
        rate: the server's learning rate.

    >>> from loomweight.federate import AnchorSampling, Strategy
    >>> strategy = Strategy(objective=(AnchorSampling(),), aggregate=FedAMD())
    """

    rate: float = 1.0

    partial: ClassVar[bool] = True

    def tells(self, state: Plain, client: str) -> Tensors:
        """The mean bullseye; nothing before there is one."""
        return state.get("mean", {})

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """A miner's update into the sum, an anchor's gradient aside."""
        if reply.extra.get(KEY):
            held.setdefault("anchors", {})[reply.client] = reply.extra[KEY]
        else:
            added(held, reply, 1.0)

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """A step along the miners' mean, and the new mean of the bullseyes."""
        anchors = held.get("anchors", {})
        book.notes["anchors"] = float(len(anchors))
        moved = stepped(weights, averaged(held), self.rate)
        if not anchors:
            return moved, state
        bullseyes = {**state.get("bullseyes", {}), **anchors}
        total: dict[str, Any] = {}
        for client in sorted(bullseyes):
            added(total, Reply(client, 0, bullseyes[client]), 1.0)
        return moved, {"bullseyes": bullseyes, "mean": averaged(total)}
