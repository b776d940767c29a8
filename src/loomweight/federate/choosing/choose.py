"""What chooses clients, and the simplest: all of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.random import Generator

from ..plain import Tensors


@dataclass(frozen=True)
class Known:
    """What a server knows when it chooses.

    Args:
        metrics: what each client that ever answered well has last said of its work, such as its mean `loss`.
        weights: that travel, as they are now.
    """

    metrics: Mapping[str, Mapping[str, float]]
    weights: Tensors


class Choose(ABC):
    """Chooses clients for a round; with an aggregate that asks one by one, those to be busy next."""

    @abstractmethod
    def choose(self, number: int, idle: Sequence[str], draw: Generator) -> Sequence[str]:
        """The clients to ask, each once.

        Args:
            number: of the round.
            idle: the clients that may be asked, in their order.
            draw: random numbers of this round alone.
        """

    def choose_knowing(self, number: int, idle: Sequence[str], draw: Generator, known: Known) -> Sequence[str]:
        """As `choose`, for those that look at what the server knows; by default they do not."""
        return self.choose(number, idle, draw)

    def concurrent(self, clients: int) -> int:
        """How many of so many clients are busy at a time, where they are asked one by one."""
        return clients


@dataclass(frozen=True)
class Everyone(Choose):
    """Every client, every round.

    >>> import numpy as np
    >>> Everyone().choose(0, ["a", "b"], np.random.default_rng(0))
    ['a', 'b']
    """

    def choose(self, number: int, idle: Sequence[str], draw: Generator) -> Sequence[str]:
        """All that are idle."""
        return list(idle)
