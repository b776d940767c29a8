"""Who takes part in a synchronisation, and whether all of them did."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import distributed

from ...errors import BadParameter, WorkerDied
from .line import Line, Traffic

T = TypeVar("T")


@runtime_checkable
class Shared(Protocol):
    """What every member holds alike between two rounds: training that a newcomer can be let into."""

    @property
    def rounds(self) -> int:
        """How many rounds are behind it."""
        ...

    def give(self) -> bytes:
        """The state that all members share, for a newcomer."""
        ...

    def take(self, data: bytes) -> None:
        """Become a member with this state."""
        ...


class Rejoined(Exception):
    """The others went on without this process; it is a new member now, with their state, perhaps in the midst of the end of a round."""

    def __init__(self, midst: bool) -> None:
        super().__init__(midst)
        self.midst = midst


class Peers(ABC):
    """The processes that train together.

    Attributes:
        traffic: bytes that this process has sent and received.
    """

    traffic: Traffic

    @abstractmethod
    def attach(self, shared: Shared, what: str) -> bool:
        """Begin, with the first member's state or, in a run that goes on, its members' state.

        Args:
            shared: what is trained.
            what: a description in which all members have to agree.

        Returns:
            Whether the others are in the midst of ending a round, in which this process has to take part without a contribution.
        """

    @abstractmethod
    def agree(self, work: Callable[[Line], T]) -> T:
        """What `work` gives, when it has gone through in every process; it may be called several times, and changes nothing but what it gives.

        Raises:
            Rejoined: see there.
        """

    def waiting(self) -> float:
        """A number that grows when somebody wants to join."""
        return 0.0

    def turn(self, waiting: float) -> bool:
        """Between two rounds: let in who wants to join; whether the members changed. `waiting` is the largest number of all members.

        Raises:
            Rejoined: see there.
        """
        return False


class Group(Peers):
    """The fixed processes of a torch.distributed group. When one of them dies, the others raise.

    Args:
        group: a process group; None is the default group.

    Raises:
        BadParameter: there is no group.
    """

    def __init__(self, group: Any = None) -> None:
        group = group or (distributed.group.WORLD if distributed.is_available() else None)
        if group is None:
            raise BadParameter("torch.distributed is not set up in this process: call torch.distributed.init_process_group, or give group=Members(...).")
        self.traffic = Traffic()
        self.line = Line(group, tuple(str(rank) for rank in range(group.size())), self.traffic)

    def attach(self, shared: Shared, what: str) -> bool:
        """Rank 0's state for everyone."""
        digests = [row[0] for row in self.agree(lambda line: line.rows([digest(what)]))]
        if differ := [rank for rank, found in enumerate(digests) if found != digests[0]]:
            raise BadParameter(f"process {differ[0]} has another model or other settings than process 0; build both in the same way on every process.")
        found = self.agree(lambda line: line.tell(shared.give() if line.rank == 0 else b"", 0))
        if self.line.rank:
            shared.take(found)
        return False

    def agree(self, work: Callable[[Line], T]) -> T:
        """Once; what it raises of the group is a `WorkerDied`."""
        try:
            return work(self.line)
        except RuntimeError as error:
            others = [name for rank, name in enumerate(self.line.names) if rank != self.line.rank]
            told = f"process {self.line.names[self.line.rank]} lost at least one of the processes {', '.join(others)} in a collective ({error})"
            raise WorkerDied(f"{told}; start again from saved states, or train with group=Members(...), which goes on without it.") from error


def peers_of(group: Any) -> Peers:
    """The peers themselves, or those of a process group."""
    return group if isinstance(group, Peers) else Group(group)


def digest(text: str) -> float:
    """48 bits, which a float holds exactly."""
    return float(int.from_bytes(sha256(text.encode()).digest()[:6], "big"))
