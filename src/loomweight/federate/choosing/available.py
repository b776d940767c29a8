"""Those that are there, as a server knows that hears from idle clients."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from numpy.random import Generator

from .choose import Choose, Everyone, Known


@runtime_checkable
class Attendance(Protocol):
    """Says who is there: `Speeds` does."""

    def present(self, client: str, number: int) -> bool:
        """Whether a client is there in the round with this number."""
        ...


@dataclass(frozen=True)
class Available(Choose):
    """Leaves out the clients that are away in this round, and chooses among the others; where all are away, nobody is asked.

    Without it, a client that is away may be asked, and does not answer.

    Args:
        speeds: says who is there.
        among: who of them is asked.

    >>> import numpy as np
    >>> from loomweight.federate import Speeds
    >>> Available(Speeds(absent={"a": 1.0, "b": 0.0, "c": 0.0})).choose(0, ["a", "b", "c"], np.random.default_rng(0))
    ['b', 'c']
    """

    speeds: Attendance
    among: Choose = field(default_factory=Everyone)

    def choose(self, number: int, idle: Sequence[str], draw: Generator) -> Sequence[str]:
        """Among those that are there."""
        return self.among.choose(number, self._there(number, idle), draw)

    def choose_knowing(self, number: int, idle: Sequence[str], draw: Generator, known: Known) -> Sequence[str]:
        """Among those that are there."""
        return self.among.choose_knowing(number, self._there(number, idle), draw, known)

    def concurrent(self, clients: int) -> int:
        """As many as the choice among them has."""
        return self.among.concurrent(clients)

    def _there(self, number: int, idle: Sequence[str]) -> list[str]:
        return [client for client in idle if self.speeds.present(client, number)]
