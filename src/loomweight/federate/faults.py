"""Clients that fail: for drills."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import unknown
from .plain import Task

KINDS = ("raises", "killed", "hangs", "nothing")


class ClientDied(Exception):
    """A client failed on purpose."""


@dataclass(frozen=True)
class Fault:
    """A client that fails in some rounds.

    Args:
        kind: "raises" in its training, "killed" as a process (where it has one of its own: on Ray), "hangs" for ever, or answers
            "nothing".
        when: the rounds; None is every round.

    Raises:
        UnknownName: another kind.

    >>> Fault("hangs", when=lambda round: round == 2).now(Task("ann", 2, {}))
    True
    """

    kind: str
    when: Callable[[int], bool] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind of fault", str(self.kind), KINDS)

    def now(self, task: Task) -> bool:
        """Whether it fails in this task."""
        return self.when is None or self.when(task.round)

    def strike(self, task: Task) -> None:
        """At the client, before it trains."""
        if self.kind == "raises" and self.now(task):
            raise ClientDied("it failed on purpose")
        if self.kind == "killed" and self.now(task):
            os.kill(os.getpid(), signal.SIGKILL)
