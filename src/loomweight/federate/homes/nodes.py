"""Which node of Flower is which client."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flwr.app import Context, Message
    from flwr.serverapp import Grid

log = logging.getLogger("loomweight.federate")

#: seconds between two looks
PAUSE = 0.2


def told(context: "Context") -> dict[str, Any]:
    """What a node says of itself: its `client` or its `partition-id`, from its configuration."""
    return {key: context.node_config[key] for key in ("client", "partition-id") if key in context.node_config}


class Nodes:
    """Node numbers and client names. A node number changes with every start; names stay.

    A node is called what its configuration says (`client`), else the name at the place of its `partition-id`, else a name that is free.

    Args:
        clients: the names.
        patience: seconds in which clients may connect at first.
    """

    def __init__(self, clients: Sequence[str], patience: float) -> None:
        self.clients, self.patience = tuple(clients), patience
        self.names: dict[int, str] = {}
        self._seen: set[int] = set()
        self._asked: list[str] = []
        self._met = False

    def meet(self, grid: "Grid") -> dict[str, int]:
        """Client -> node, of those that are connected; at first it waits for all."""
        ends = time.monotonic() + self.patience
        while True:
            there = set(grid.get_node_ids())
            self._ask(grid, there - self._seen)
            for answer in grid.pull_messages(self._asked) if self._asked else ():
                self._asked.remove(answer.metadata.reply_to_message_id)
                self._name(answer, there)
            known = {self.names[node]: node for node in there if node in self.names}
            if self._met or len(known) == len(self.clients) or time.monotonic() > ends:
                self._met = True
                return known
            time.sleep(PAUSE)

    def _ask(self, grid: "Grid", fresh: set[int]) -> None:
        from flwr.app import Message, RecordDict

        for node in sorted(fresh):
            self._seen.add(node)
            self._asked.extend(grid.push_messages([Message(RecordDict(), node, "query")]))

    def _name(self, answer: "Message", there: set[int]) -> None:
        node = answer.metadata.src_node_id
        if answer.has_error():
            log.warning("node %d does not say who it is: %s", node, answer.error.reason)
            return
        found: Any = answer.content.config_records.get("told", {})
        taken = {name for other, name in self.names.items() if other in there}
        free = [name for name in self.clients if name not in taken]
        place = found.get("partition-id")
        name = found.get("client", self.clients[place] if isinstance(place, int) and 0 <= place < len(self.clients) else place)
        name = (free or [None])[0] if name is None else str(name)
        if name in free:
            self.names[node] = name
        else:
            log.warning("node %d is left aside: it calls itself %r, and the names that are free are %s.", node, name, free[:10])
