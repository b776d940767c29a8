"""How much a search may try, and how."""

from dataclasses import dataclass

from ..errors import BadParameter
from .sampler import Sampler


@dataclass(frozen=True)
class Budget:
    """How to search.

    Args:
        trials: how many, those of earlier runs on the same storage counted.
        sampler: as `Study` takes it.
        seed: the same seed tries the same.
        at_once: trials that are asked before the first of them is told; None: as many as the engine has workers.

    Raises:
        BadParameter: a number is below 1.

    >>> Budget(200, "evolution").seed
    0
    """

    trials: int = 100
    sampler: str | Sampler = "auto"
    seed: int = 0
    at_once: int | None = None

    def __post_init__(self) -> None:
        if self.trials < 1 or (self.at_once is not None and self.at_once < 1):
            raise BadParameter(f"{self} needs at least 1 trial, and at least 1 at once.")
