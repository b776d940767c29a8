"""Clients that take turns, so that each comes back after a known number of rounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from ...errors import BadParameter
from ..choosing import Choose, Everyone


@dataclass(frozen=True)
class Rota(Choose):
    """In round t only every `apart`-th client, from the (t mod apart)-th on, may be chosen: a client's rounds are multiples of `apart` from each other.

    Paper: Multi-Epoch Matrix Factorization Mechanisms for Private Machine Learning (2022, https://arxiv.org/abs/2211.06530), section 2:
    this is its (k, b)-participation. It needs all clients to be idle when a round begins, as they are where the aggregate waits for them.

    Args:
        apart: the number of turns.
        among: chooses among those whose turn it is.

    Raises:
        BadParameter: apart is below 1.

    >>> import numpy as np
    >>> [Rota(2).choose(t, ["a", "b", "c"], np.random.default_rng(0)) for t in range(3)]
    [['a', 'c'], ['b'], ['a', 'c']]
    """

    apart: int
    among: Choose = field(default_factory=Everyone)

    def __post_init__(self) -> None:
        if self.apart < 1:
            raise BadParameter(f"Rota: apart is at least 1, found {self.apart}.")

    def choose(self, number: int, idle: Sequence[str], draw: Generator) -> Sequence[str]:
        """Those whose turn it is, or some of them."""
        turn = list(idle)[number % self.apart :: self.apart]
        return self.among.choose(number, turn, draw) if turn else []

    def concurrent(self, clients: int) -> int:
        """As many as have their turn together."""
        return self.among.concurrent(-(-clients // self.apart))
