"""What an aggregate is: the server's half of a method, on plain data."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..plain import Plain, Reply, Tensors


@dataclass
class Book:
    """What a server knows of the round that is open.

    Args:
        round: its number.
        clients: all there are.
        asked: the clients that got a task of this round, in the order of their tasks.
        answered: those whose reply counts.
        refused: client -> code, for replies that do not count.
        lost: client -> why.
        opened: when it began.
        now: the time.
        notes: what the aggregate says of the round; it goes into the history.
    """

    round: int
    clients: tuple[str, ...]
    asked: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    opened: float = 0.0
    now: float = 0.0
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nobody is waited for."""
        return len(self.answered) + len(self.refused) + len(self.lost) >= len(self.asked)


class Aggregate(ABC):
    """Makes new weights of updates; a frozen dataclass whose state is plain data that is handed to it."""

    #: replies may lack names
    partial: ClassVar[bool] = False
    #: tasks outlive the round; a client that has answered is asked again at once, with the weights of that moment
    continuous: ClassVar[bool] = False
    #: where continuous: tasks are given out at the start of a round only, so a client that has answered waits for its end
    waits: ClassVar[bool] = False
    #: only sums of updates are looked at: what secure aggregation needs
    sums: ClassVar[bool] = False
    #: how far a round goes along the pooled update
    rate: float = 1.0

    def start(self, weights: Tensors) -> Plain:
        """The state before the first round."""
        return {}

    def begin(self, state: Plain) -> Plain:
        """What is held at the start of a round: what `add` must know of the state, and may change."""
        return {}

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """Take in a reply that counts; replies come in the order of the tasks, or of their arrival where `continuous`.

        Where `continuous`, `reply.metrics["behind"]` says how many rounds have ended since its task was given out.

        By default it is kept. An aggregate that needs no more than a sum adds it here, and memory stays at one model.
        """
        held.setdefault("replies", []).append(reply)

    @abstractmethod
    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """New weights and state at the end of a round; weights and state that are given stay as they are, what is held is used up."""

    def down(self, weights: Tensors, state: Plain, client: str) -> Tensors:
        """The weights that a client gets."""
        return weights

    def like(self, weights: Tensors, state: Plain, client: str) -> Tensors:
        """What a client's update is to look like: names, shapes and dtypes; by default those of all tensors that travel, which are given."""
        return weights

    def tells(self, state: Plain, client: str) -> Tensors:
        """What a client is told besides the weights: `work.told` there."""
        return {}

    def wrong(self, reply: Reply) -> str | None:
        """What a reply lacks that this aggregate needs beyond its update, in words; it is refused then. None where nothing is wrong."""
        return None

    def steps(self, state: Plain, client: str) -> int | None:
        """How many local steps a client shall make; None leaves it to `Local`."""
        return None

    def check(self, count: int, refused: int = 0) -> None:  # noqa: B027
        """Raise `TooFewSets` where it is not defined for so many replies, when so many others were refused for what they held."""

    def ready(self, book: Book) -> bool:
        """Whether the round may end now: by default when nobody is waited for."""
        return book.complete

    def closes(self, book: Book) -> float | None:
        """The time at which the round ends in any case; None where there is none."""
        return None


def kept(held: Plain) -> Sequence[Reply]:
    """The replies that `Aggregate.add` has kept."""
    return held.get("replies", [])
