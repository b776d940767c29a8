"""Some clients at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from numpy.random import Generator

from ...errors import BadParameter
from .choose import Choose


@dataclass(frozen=True)
class Sample(Choose):
    """So many clients at random, without one twice.

    Args:
        count: how many, or below 1 the share of all, rounded up.

    Raises:
        BadParameter: not positive, or no whole number above 1.

    >>> import numpy as np
    >>> sorted(Sample(0.5).choose(0, ["a", "b", "c", "d"], np.random.default_rng(0)))
    ['c', 'd']
    """

    count: float

    def __post_init__(self) -> None:
        if not self.count > 0 or (self.count >= 1 and self.count != int(self.count)):
            raise BadParameter(f"Sample: a whole number of clients, or a share between 0 and 1, found {self.count}.")

    def choose(self, number: int, idle: Sequence[str], draw: Generator) -> Sequence[str]:
        """Drawn without replacement; in the order of the clients."""
        wanted = min(self.concurrent(len(idle)), len(idle))
        chosen = sorted(draw.choice(len(idle), wanted, replace=False))
        return [str(idle[i]) for i in chosen]

    def concurrent(self, clients: int) -> int:
        """The count."""
        return ceil(self.count * clients) if self.count < 1 else int(self.count)
