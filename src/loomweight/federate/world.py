"""What a simulation adds to a strategy: chance, speeds, hostile clients, faults, and a test."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import nn

from ..errors import BadParameter
from .attacks.attack import Attack
from .faults import Fault


@runtime_checkable
class Pace(Protocol):
    """How long clients take, and which are there: `Speeds` is one."""

    def duration(self, client: str, number: int, steps: int) -> float:
        """Of the task with this number, with so many local steps."""
        ...

    def present(self, client: str, number: int) -> bool:
        """Whether a client is there in the round with this number."""
        ...

    def fails(self, client: str, number: int) -> bool:
        """Whether it dies in this task."""
        ...


@dataclass(frozen=True)
class World:
    """The circumstances of a simulation.

    Args:
        seed: of everything that chance decides.
        speeds: of the clients, in simulated time; None answers at once.
        attackers: client -> its attack.
        faults: client -> its fault.
        models: client -> its model, where it is not the server's: one with some of its tensors. The aggregate must be `partial` then, and
            send each client only what it has.
        test: model -> numbers, for the history.
        every: rounds between tests and between saved states; the last round has both.

    Raises:
        BadParameter: a number out of its range.
    """

    seed: int = 0
    speeds: Pace | None = None
    attackers: Mapping[str, Attack] = field(default_factory=dict)
    faults: Mapping[str, Fault] = field(default_factory=dict)
    models: Mapping[str, nn.Module] = field(default_factory=dict)
    test: Callable[[nn.Module], Mapping[str, float]] | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1 or self.seed < 0:
            raise BadParameter(f"World: every is at least 1 and the seed is not negative, found {self.every} and {self.seed}.")
