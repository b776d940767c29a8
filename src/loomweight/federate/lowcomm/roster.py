"""The list of members of each generation: written once to the store by whoever is first, and the same for all from then on.

There is one list for each generation and one generation after the other, in one store; who is not in the newest is no member. So two halves that do not see
each other cannot both train: whatever a half does, it needs its names on the next list, at least `fewest` of them.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from time import monotonic, sleep
from typing import Any, TypeVar

from ...errors import WorkerDied
from .heart import Watch

T = TypeVar("T")


@dataclass(frozen=True)
class Member:
    """One process: its number, which no other has ever had, its name, and how many rounds are behind it (-1: it is new)."""

    ident: int
    name: str
    rounds: int


@dataclass(frozen=True)
class Roster:
    """The members of a generation, by number; how many had announced themselves by then; whether it began in the midst of ending a round."""

    generation: int
    members: tuple[Member, ...]
    announced: int
    midst: bool

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of ranks."""
        return tuple(member.name for member in self.members)

    def rank(self, ident: int) -> int | None:
        """The place of a process, or None."""
        return next((i for i, member in enumerate(self.members) if member.ident == ident), None)

    @property
    def source(self) -> int:
        """The rank whose state the others take: the first of those who have come furthest."""
        furthest = max(member.rounds for member in self.members)
        return next(i for i, member in enumerate(self.members) if member.rounds == furthest)

    def behind(self, ident: int) -> bool:
        """Whether a process has to take the source's state."""
        member = next(member for member in self.members if member.ident == ident)
        source = self.members[self.source]
        return member.ident != source.ident and (member.rounds < source.rounds or source.rounds < 0)


def announce(store: Any, member: Member) -> int:
    """Say that a process wants to join; how many have said so."""
    place = store.add("announced", 1)
    store.set(f"announced/{place}", json.dumps(asdict(member)))
    return place


def announced(store: Any, after: int) -> list[Member]:
    """Who has said so since the first `after`."""
    last = store.add("announced", 0)
    return [member for place in range(after + 1, last + 1) if (member := _read(store, f"announced/{place}")) is not None]


def arrive(store: Any, generation: int, member: Member) -> None:
    """Say that a member of the last generation is there for the next one."""
    store.set(f"here/{generation}/{member.ident}", json.dumps(asdict(member)))


def arrived(store: Any, generation: int, idents: Iterable[int]) -> list[Member]:
    """Which of these have said so."""
    return [member for ident in idents if (member := _read(store, f"here/{generation}/{ident}")) is not None]


def propose(store: Any, roster: Roster) -> None:
    """Make it the list of its generation, unless there is one."""
    members = [asdict(member) for member in roster.members]
    store.compare_set(_list(roster.generation), "", json.dumps([members, roster.announced, roster.midst]))


def listed(store: Any, generation: int) -> Roster | None:
    """The list of a generation, or None."""
    if not store.check([_list(generation)]):
        return None
    members, last, midst = json.loads(store.get(_list(generation)))
    return Roster(generation, tuple(Member(**member) for member in members), last, midst)


def newest(store: Any, after: int) -> int:
    """The newest generation that has a list, if not `after`."""
    while store.check([_list(after + 1)]):
        after += 1
    return after


@dataclass(frozen=True)
class Wanted:
    """What the next generation needs.

    Args:
        before: the generation that ends, or None before the first.
        fewest, wished: of members: without so many nothing goes on; for so many one waits, as long as `patience`.
        patience: seconds.
        midst: a round is being ended.
    """

    before: Roster | None
    fewest: int
    wished: int
    patience: float
    midst: bool


def formed(store: Any, wanted: Wanted, watch: Watch) -> Roster:
    """Wait until the next generation has a list, and propose one when everyone who is alive has come.

    Raises:
        WorkerDied: fewer than `fewest` came; the message says whom it waited for.
    """
    generation = wanted.before.generation + 1 if wanted.before else 1
    old = wanted.before.members if wanted.before else ()
    begun = monotonic()
    while (found := listed(store, generation)) is None:
        here = arrived(store, generation, [member.ident for member in old])
        known = {member.ident for member in here}
        missing = [member for member in old if member.ident not in known and not watch.dead(member.ident)]
        last = store.add("announced", 0)
        came = announced(store, wanted.before.announced if wanted.before else 0)
        new = [member for member in came if watch.alive(member.ident)]
        unsure = [member for member in came if member not in new and not watch.dead(member.ident)]
        together = sorted([*here, *new], key=lambda member: member.ident)
        late = monotonic() - begun > wanted.patience
        complete = not missing and not unsure and len(together) >= max(wanted.wished, wanted.fewest)
        if len(together) >= wanted.fewest and (complete or late):
            propose(store, Roster(generation, tuple(together), last, wanted.midst))
        elif late:
            raise WorkerDied(_lonely(wanted, old, together))
        else:
            sleep(0.01)
    return found


def waited(look: Callable[[], T | None], seconds: float) -> T | None:
    """What `look` gives as soon as it gives something, or None when the time is over."""
    pause, until = 0.0002, monotonic() + seconds
    while (found := look()) is None and monotonic() < until:
        sleep(pause)
        pause = min(1.5 * pause, 0.01)
    return found


def _lonely(wanted: Wanted, old: Sequence[Member], together: Sequence[Member]) -> str:
    here = ", ".join(member.name for member in together) or "nobody"
    gone = ", ".join(member.name for member in old if member not in together and member.ident not in {m.ident for m in together}) or "others"
    return (
        f"at least {wanted.fewest} workers are needed, and after {wanted.patience:g} s there are {len(together)}: {here}; waited for {gone}."
        " Start more workers, or allow fewer (fewest=...)."
    )


def _read(store: Any, key: str) -> Member | None:
    return Member(**json.loads(store.get(key))) if store.check([key]) else None


def _list(generation: int) -> str:
    return f"list/{generation}"
