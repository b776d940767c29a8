"""What goes back and forth between a server and its clients: plain data, so that it can be sent, saved and resumed."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

#: name -> tensor
Tensors = dict[str, Tensor]
#: nested dicts and lists of tensors, numbers and words: what `weights.plain_state` can save
Plain = dict[str, Any]
#: the key under which a task carries what the aggregate tells its client
TOLD = "aggregate"


@dataclass(frozen=True)
class Task:
    """What the server asks of a client.

    Args:
        client: its name.
        round: the number of rounds that the weights have behind them.
        weights: the tensors that travel.
        shared: what each term of the objective sends besides, by the term's key.
        steps: local steps, where the server decides them; None leaves it to `Local`.
        seed: of this client's random numbers in this task.
        number: how many tasks the server has given out before.
    """

    client: str
    round: int
    weights: Tensors
    shared: dict[str, Tensors] = field(default_factory=dict)
    steps: int | None = None
    seed: int = 0
    number: int = 0


@dataclass(frozen=True)
class Reply:
    """What a client answers.

    Args:
        client: its name.
        round: of the task.
        update: trained - received, packed by the message parts; the server opens it.
        weight: how much the client counts: its examples.
        extra: what each term of the objective sends back, by the term's key.
        metrics: numbers about the local training: "loss", "steps", ...
        number: of the task, where the client knows it; clients that are asked several times in a round are told apart by it.
    """

    client: str
    round: int
    update: Tensors
    weight: float = 1.0
    extra: dict[str, Tensors] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    number: int | None = None


@dataclass(frozen=True)
class Lost:
    """A client that does not answer.

    Args:
        client: its name.
        round: of the task.
        why: "died", "late" or "nothing".
        words: what is known of it.
    """

    client: str
    round: int
    why: str = "died"
    words: str = ""


def nbytes(tensors: Tensors) -> int:
    """Bytes of the entries."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def traffic(message: Task | Reply) -> int:
    """Bytes of all tensors of a task or a reply.

    >>> traffic(Reply("a", 0, {"w": torch.zeros(3)}))
    12
    """
    weights, more = (message.weights, message.shared) if isinstance(message, Task) else (message.update, message.extra)
    return nbytes(weights) + sum(map(nbytes, more.values()))
