"""The hooks of a Flower strategy, and its loop: Flower carries the messages, the server of loomweight decides."""

import copy
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ..folder import Folder
from ..plain import Lost, Task
from ..saved import state_of_server
from ..strategy import Strategy
from ..trainer import state_of
from .nodes import PAUSE, Nodes
from .serving import server_of
from .wire import carried, content_of_task, record_of, reply_of, tensors_of

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, Message, MetricRecord
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import Result

log = logging.getLogger("loomweight.federate")


class Drive:
    """Drives a server. Its `start` is a loop of its own, since Flower's waits for all replies of a round and knows no resuming."""

    def __init__(self, strategy: Strategy, model: nn.Module, clients: Sequence[str], seed: int, folder: str | Path | None, patience: float) -> None:
        self.strategy, self.model, self.folder = strategy, copy.deepcopy(model), folder
        self.server = server_of(model, strategy, clients, seed)
        self.nodes = Nodes(clients, patience)
        self.out: dict[str, Task] = {}
        self._ids: set[str] = set()
        self._begun = time.monotonic()
        self._made: dict[str, tuple[Any, ArrayRecord]] = {}

    def summary(self) -> None:
        """A line for the log."""
        log.info("%s", self.strategy)

    def start(self, grid: "Grid", initial_arrays: Any = None, num_rounds: int = 3, timeout: float = 3600, *, evaluate_fn: Any = None) -> "Result":
        """Run the federation.

        Args:
            grid: of the app's `main`.
            initial_arrays: the model's weights, where they are not those that `flower` was given.
            num_rounds: in all, those of earlier runs in the folder among them.
            timeout: seconds that a round waits at most; the guard's deadline may be sooner.
            evaluate_fn: (round, arrays) -> metrics, after every round.

        Raises:
            TooFewReplies, BadReply: the guard says to stop.
        """
        from flwr.serverapp.strategy import Result

        result = Result()
        with ExitStack() as stack:
            home = stack.enter_context(Folder(self.folder)) if self.folder is not None else None
            self._begin(home, initial_arrays)
            result.arrays = self.arrays()
            self.nodes.meet(grid)
            while self.server.round < num_rounds:
                number = self.server.round + 1
                self._round(grid, timeout)
                result.arrays, result.train_metrics_clientapp[number] = self.arrays(), self._numbers()
                tested = evaluate_fn(number, result.arrays) if evaluate_fn else None
                if tested is not None:
                    result.evaluate_metrics_serverapp[number] = tested
                    self.server.history[-1].update(tested)
                if home:
                    home.save({"server": state_of_server(self.server)}, self.strategy, list(self.server.clients), self.server.seed)
        return result

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: "Grid") -> "Iterable[Message]":
        """A message for each task; a client that is not connected is missing."""
        from flwr.app import Message

        tasks = self.server.tasks(self._now())
        where = self.nodes.meet(grid) if tasks else {}
        messages = []
        for task in tasks:
            self.out[task.client] = task
            if task.client in where:
                messages.append(Message(content_of_task(task, self._records(task)), where[task.client], "train", group_id=str(server_round)))
            elif not self.strategy.pooling.continuous:
                self._lost(task.client, "no node of that name is connected")
        return messages

    def aggregate_train(self, server_round: int, replies: "Iterable[Message]") -> "tuple[ArrayRecord, MetricRecord]":
        """The end of a round."""
        for message in replies:
            self.land(message)
        self._close()
        return self.arrays(), self._numbers()

    def configure_evaluate(self, server_round: int, arrays: Any, config: Any, grid: "Grid") -> "Iterable[Message]":
        """Nothing: models are tested at the server, by the `evaluate_fn` of `start`."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: "Iterable[Message]") -> None:
        """Nothing."""

    def land(self, message: "Message") -> None:
        """Give an answer to the server. Whose it is, the node says that it comes from, not what stands in it."""
        client = self.nodes.names.get(message.metadata.src_node_id, "")
        if client not in self.out:
            log.warning("a message from node %d, of which nothing is asked, is left aside.", message.metadata.src_node_id)
        elif message.has_error():
            self._lost(client, " ".join((message.error.reason or "it raised").split())[-300:])
        else:
            self.server.push(reply_of(message.content, self.out.pop(client)), self._now())

    def arrays(self) -> "ArrayRecord":
        """The model's state dict as it is now."""
        return record_of(state_of(self.model, self.server.weights))

    def _begin(self, home: Folder | None, arrays: Any) -> None:
        clients, seed = self.server.clients, self.server.seed
        saved = home.load(self.strategy, list(clients), seed) if home else None
        if arrays is not None:
            self.model.load_state_dict(tensors_of(arrays, "initial_arrays"))
        self.server = server_of(self.model, self.strategy, clients, seed, saved and saved["server"])
        self._begun = time.monotonic() - (self.server.history[-1]["time"] if self.server.history else 0.0)
        for client, number in list(self.server.out.items()):
            self.server.push(Lost(client, number, "late", "the server was stopped before it answered"), self._now())

    def _round(self, grid: "Grid", timeout: float) -> None:
        server, number, ends = self.server, self.server.round, self._now() + timeout
        while server.round == number:
            for message in self.configure_train(number + 1, None, None, grid):
                pushed = list(grid.push_messages([message]))
                self._ids.update(pushed)
                if not pushed:
                    self._lost(self.nodes.names[message.metadata.dst_node_id], "its node is gone")
            landed = list(grid.pull_messages(self._ids)) if self._ids else []
            for message in landed:
                self._ids.discard(message.metadata.reply_to_message_id)
                self.land(message)
            over = self._now() >= min(ends, ends if server.closes is None else server.closes)
            if over or server.ready(self._now()) or not self.out:
                self._close()
            elif not landed:
                time.sleep(PAUSE)

    def _close(self) -> None:
        self.server.close(self._now())
        if not self.strategy.pooling.continuous:
            self.out.clear()
            self._ids.clear()

    def _lost(self, client: str, words: str) -> None:
        self.server.push(Lost(client, self.out.pop(client).round, "died", words), self._now())

    def _now(self) -> float:
        return time.monotonic() - self._begun

    def _numbers(self) -> "MetricRecord":
        from flwr.app import MetricRecord

        return MetricRecord({key: +value for key, value in self.server.history[-1].items() if isinstance(value, int | float)})

    def _records(self, task: Task) -> "dict[str, ArrayRecord]":
        """The records of a task's tensors; what several tasks carry alike is made once."""
        found = {}
        for key, tensors in carried(task).items():
            if key not in self._made or self._made[key][0] is not tensors:
                self._made[key] = (tensors, record_of(tensors))
            found[key] = self._made[key][1]
        return found
