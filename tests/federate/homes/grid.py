"""Flower's grid within one process: real messages, real apps, no transport."""

from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

#: what happens to an answer on its way: it may be another one, or None for none at all
Way = Callable[[str, Message], Message | None]


class OneProcess(Grid):
    """Nodes with numbers far from their partitions; each message is answered when it is pulled.

    Args:
        app: of all clients.
        nodes: how many.
        way: of answers to tasks, by partition.
        told: whether nodes know their partition.
    """

    def __init__(self, app: ClientApp, nodes: int, way: Way = lambda partition, answer: answer, *, told: bool = True) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        self.app, self.way = app, way
        self.contexts = {7000 - 13 * i: self._context(7000 - 13 * i, i, nodes, told) for i in range(nodes)}
        self.sent: dict[str, Message] = {}
        self.count = 0

    def _context(self, node: int, partition: int, nodes: int, told: bool) -> Context:
        return Context(1, node, {"partition-id": partition, "num-partitions": nodes} if told else {}, RecordDict(), {})

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        pushed = []
        for message in messages:
            if message.metadata.dst_node_id in self.contexts:
                self.count += 1
                message.metadata.__dict__["_message_id"] = str(self.count)
                self.sent[str(self.count)] = message
                pushed.append(str(self.count))
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        answers = []
        for number in sorted(message_ids, key=int, reverse=True):  # answers come in an order of their own
            message = self.sent.pop(number, None)
            answer = message and self._answer(message)
            if answer:
                answers.append(answer)
        return answers

    def _answer(self, message: Message) -> Message | None:
        context = self.contexts[message.metadata.dst_node_id]
        try:
            answer = self.app(message, context)
        except Exception as error:  # noqa: BLE001  # Flower, too, makes an error message of whatever an app raises
            answer = Message(Error(code=2, reason=f"{type(error)}:<'{error}'>"), reply_to=message)
        if message.metadata.message_type != "train":
            return answer
        return self.way(str(context.node_config.get("partition-id", context.node_id)), answer)

    def set_run(self, run: Any) -> None: ...

    @property
    def run(self) -> Any: ...

    def create_message(self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None) -> Message:
        return Message(content, dst_node_id, message_type, group_id=group_id)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))
