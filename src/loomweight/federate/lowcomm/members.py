"""Workers that come and go: a new process group for each change, agreed on through a store.

Papers: DiLoCo: Distributed Low-Communication Training of Language Models (2023, https://arxiv.org/abs/2311.08105), section 3.3, "adaptive compute pool" and
"asynchronous communication", whose workers leave and join between rounds; Distributed Deep Learning in Open Collaborations (2021,
https://arxiv.org/abs/2106.10207), section 3.1, whose peers may vanish at any time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from torch import distributed

from ...errors import BadParameter, WorkerDied
from .heart import Heart, Watch, left
from .line import Line, Traffic
from .peers import Peers, Rejoined, Shared, digest
from .roster import Member, Roster, Wanted, announce, arrive, formed, listed, newest, waited

T = TypeVar("T")
_COMMIT, _ABORT = b"commit", b"abort"


@contextmanager
def _store() -> Iterator[None]:
    """What breaks in the store itself cannot be borne."""
    try:
        yield
    except distributed.DistError as error:
        told = f"the store in which the workers find each other cannot be reached any more ({error})"
        raise WorkerDied(f"{told}; start again from saved states, with a store in a process that outlives the workers.") from error


class Members(Peers):
    """Processes that find each other in a store, go on when some die, and let newcomers in between two rounds.

    Each change makes a new generation: a list of members in the store and a gloo group of its own. A round counts when every member of its generation has gone
    through its collectives, which one key in the store decides; so all members take a step, or none. When one dies, the others see its connection close, and
    its beats stop; `dead_after` seconds later they go on without it and end the round with what they have. One that hangs but beats costs `timeout`.
    A newcomer gets weights, counts and the outer optimizer's state of the member that has come furthest.

    Args:
        store: a TCPStore or FileStore that outlives every single worker, so best one of a process that does not train.
        name: of this worker, in messages; no two of one run.
        fewest: members without which nothing goes on: half of the workers and one, to be safe when a network breaks in two.
        wished: how many the first generation waits for.
        timeout: seconds for which a collective waits for a slow worker, and a generation for members: longer than rounds of workers differ.
        dead_after: seconds without a sign of life after which a worker counts as dead.
        backend: makes a group of (store, rank, size, timeout); None is ProcessGroupGloo.

    Raises:
        BadParameter: a number out of range.

    Attributes:
        history: of every generation: its number, members' names, and who of the last one is lost.

    >>> from torch.distributed import HashStore
    >>> members = Members(HashStore(), "alone")
    >>> members.history
    []
    """

    def __init__(
        self,
        store: Any,
        name: str,
        fewest: int = 1,
        wished: int | None = None,
        timeout: float = 60.0,
        dead_after: float = 5.0,
        backend: Callable[[Any, int, int, timedelta], Any] | None = None,
    ) -> None:
        wished = fewest if wished is None else wished
        if not (1 <= fewest <= wished and 0 < dead_after <= timeout):
            raise BadParameter(
                "members are at least 1, fewest no more than wished, and 0 < dead_after <= timeout;"
                f" found fewest={fewest}, wished={wished}, dead_after={dead_after}, timeout={timeout}."
            )
        self.store, self.name, self.fewest, self.wished = store, name, fewest, wished
        self.timeout, self.dead_after, self.backend = timeout, dead_after, backend or distributed.ProcessGroupGloo
        self.traffic = Traffic()
        self.history: list[dict[str, Any]] = []
        self.roster: Roster | None = None
        self.line: Line | None = None
        self.shared: Shared | None = None
        self.ident, self.place, self.heart = 0, 0, None
        self._midst, self._number, self._attached = False, 0, False

    def attach(self, shared: Shared, what: str) -> bool:
        """Announce this process and wait until it is a member.

        Raises:
            BadParameter: the run in this store is of another model or of other settings.
            WorkerDied: too few came, or the store is gone.
        """
        mine = str(int(digest(what)))
        with _store():
            known = self.store.compare_set("what", "", mine).decode()
        if known != mine:
            raise BadParameter(f"worker {self.name} has another model or other settings than the run in this store; build both in the same way.")
        self.shared = shared
        with _store():
            self._join()
            self._open()
        self._attached = True
        assert self.roster is not None
        if self.roster.names.count(self.name) > 1:
            self.leave()
            raise BadParameter(f"another worker of the run is named {self.name}; give each a name of its own.")
        return self.roster.midst

    def agree(self, work: Callable[[Line], T]) -> T:
        """Again and again with those who are left, until it goes through in every one of them."""
        self._midst = True
        with _store():
            while True:
                self._open()
                assert self.line is not None
                done, found = self._tried(work, self.line)
                if self._committed(done):
                    self._midst = False
                    return found  # type: ignore[return-value]
                self._close()

    def waiting(self) -> float:
        """How many have ever announced themselves."""
        return float(self.store.add("announced", 0))

    def turn(self, waiting: float) -> bool:
        """A new generation, if somebody has announced themselves since the last."""
        if self.roster is None or waiting <= self.roster.announced:
            return False
        with _store():
            self._close()
            self._open()
        return True

    def leave(self) -> None:
        """Take part no more; the others need not wait to notice."""
        self.store.set(left(self.ident), "")
        if self.heart:
            self.heart.stop()
        self._close()

    def _join(self) -> None:
        """As a new process, whatever this one was before."""
        if self.heart:
            self.heart.stop()
        self.ident = self.store.add("processes", 1)
        self.heart = Heart(self.store, self.ident, min(self.dead_after / 5, 1.0))
        self.roster = None
        self.place = announce(self.store, Member(self.ident, self.name, -1))

    def _open(self) -> None:
        """Be in a generation whose members can all reach each other and have one state."""
        again = False
        while self.line is None:
            roster = self._next()
            rank = roster.rank(self.ident)
            if rank is None:  # the others went on without this process
                self._join()
                again = self._attached
                continue
            lost = [member.name for member in self.roster.members if roster.rank(member.ident) is None] if self.roster else []
            self.roster = roster
            self.history.append({"generation": roster.generation, "members": list(roster.names), "lost": lost})
            if not self._connected(roster, rank):
                self._close()
        if again and self.roster is not None:
            raise Rejoined(self.roster.midst)

    def _next(self) -> Roster:
        """The list of the next generation; of a process that is in none, the first that has it."""
        watch = Watch(self.store, self.dead_after)
        if self.roster is None and self.store.check(["list/1"]):
            found = waited(self._mine, self.timeout)
            if found is None:
                names = ", ".join(getattr(listed(self.store, newest(self.store, 0)), "names", ()))
                raise WorkerDied(f"worker {self.name} was not let in within {self.timeout:g} s; waited for {names}: are they alive, is timeout long enough?")
            return found
        assert self.shared is not None
        if self.roster is not None:
            arrive(self.store, self.roster.generation + 1, Member(self.ident, self.name, self.shared.rounds))
        return formed(self.store, Wanted(self.roster, self.fewest, self.wished if self.roster is None else 1, self.timeout, self._midst), watch)

    def _mine(self) -> Roster | None:
        """The newest list, if this process is on it, or was there and is not."""
        found = listed(self.store, newest(self.store, 0))
        return found if found and (found.rank(self.ident) is not None or found.announced >= self.place) else None

    def _connected(self, roster: Roster, rank: int) -> bool:
        """A group of these members, in which those that are behind have taken the state of one that is not."""
        assert self.shared is not None
        shared, self._number = self.shared, 0
        needed = any(roster.behind(member.ident) for member in roster.members)
        done, data = self._tried(lambda line: line.tell(shared.give() if rank == roster.source else b"", roster.source) if needed else b"", None, roster)
        if not self._committed(done):
            return False
        if roster.behind(self.ident):
            shared.take(data or b"")
        return True

    def _tried(self, work: Callable[[Line], T], line: Line | None, roster: Roster | None = None) -> tuple[bool, T | None]:
        """Whether it went through here; what breaks in a group is a `RuntimeError` of torch."""
        try:
            return True, work(line or self._made(roster or self.roster))
        except NotImplementedError:  # torch's word for a collective that the backend does not have: nobody died
            raise
        except RuntimeError:
            return False, None

    def _made(self, roster: Roster | None) -> Line:
        assert roster is not None
        rank = roster.rank(self.ident)
        assert rank is not None
        store = distributed.PrefixStore(f"group/{roster.generation}", self.store.clone())  # type: ignore[attr-defined]  # not in its list of names
        group = self.backend(store, rank, len(roster.members), timedelta(seconds=self.timeout))
        self.line = Line(group, roster.names, self.traffic)
        return self.line

    def _committed(self, done: bool) -> bool:
        """Whether all members of the generation have gone through; one key decides it for all."""
        assert self.roster is not None
        self._number += 1
        key = f"verdict/{self.roster.generation}/{self._number}"
        others = [member.ident for member in self.roster.members if member.ident != self.ident]
        if not done:
            return self.store.compare_set(key, "", _ABORT.decode()) == _COMMIT
        if self.store.add(f"{key}/done", 1) == len(self.roster.members):
            return self.store.compare_set(key, "", _COMMIT.decode()) == _COMMIT
        watch, begun = Watch(self.store, self.dead_after), time.monotonic()

        def look() -> bytes | None:
            if self.store.check([key]):
                return self.store.get(key)
            if time.monotonic() - begun > self.dead_after / 5 and watch.any_dead(others):
                return self.store.compare_set(key, "", _ABORT.decode())
            return None

        return (waited(look, self.timeout) or self.store.compare_set(key, "", _ABORT.decode())) == _COMMIT

    def _close(self) -> None:
        self.line = None
