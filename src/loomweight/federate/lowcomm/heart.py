"""Signs of life: each process counts up a number in the store, and watches whether the others' numbers go up."""

import threading
import time
from collections.abc import Iterable
from typing import Any

from ...errors import BadParameter


class Heart:
    """A thread that counts up `beat/ID` every so many seconds until it is stopped, or its process dies.

    Args:
        store: where; its own connection is used, so that a long wait elsewhere does not stop it.
        ident: of this process.
        every: seconds.
    """

    def __init__(self, store: Any, ident: int, every: float) -> None:
        self.store, self.key, self.every = store.clone(), beat(ident), every
        self.stopped = threading.Event()
        threading.Thread(target=self._beat, daemon=True, name=f"heart {ident}").start()

    def stop(self) -> None:
        """The last beat was the last."""
        self.stopped.set()

    def _beat(self) -> None:
        while not self.stopped.is_set():
            try:
                self.store.add(self.key, 1)
            except RuntimeError:
                return  # the store is gone; whoever waits for it says so
            self.stopped.wait(self.every)


class Watch:
    """Which processes show signs of life, from the time when this begins to look; no two clocks are compared.

    Args:
        store: where their numbers are.
        dead_after: seconds without a new beat after which a process counts as dead.
    """

    def __init__(self, store: Any, dead_after: float) -> None:
        if dead_after <= 0:
            raise BadParameter(f"dead_after is a positive number of seconds, found {dead_after}.")
        self.store, self.dead_after = store, dead_after
        self.seen: dict[int, tuple[int, float, bool]] = {}

    def alive(self, ident: int) -> bool:
        """Whether it has been seen to beat."""
        return self._look(ident)[2] and not self.dead(ident)

    def dead(self, ident: int) -> bool:
        """Whether it has left, or has not been seen to beat for long enough."""
        if self.store.check([left(ident)]):
            return True
        return time.monotonic() - self._look(ident)[1] > self.dead_after

    def any_dead(self, idents: Iterable[int]) -> bool:
        """Whether one of them is."""
        looked = [self.dead(ident) for ident in idents]  # at each of them, so that each is watched from now on
        return any(looked)

    def _look(self, ident: int) -> tuple[int, float, bool]:
        count = self.store.add(beat(ident), 0)
        before = self.seen.setdefault(ident, (count, time.monotonic(), False))
        if count != before[0]:
            self.seen[ident] = (count, time.monotonic(), True)
        return self.seen[ident]


def beat(ident: int) -> str:
    """The key of a process's beats."""
    return f"beat/{ident}"


def left(ident: int) -> str:
    """The key that says that a process left by itself."""
    return f"left/{ident}"
