"""Clients that have what lies together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from torch import Tensor

from .partition import Indices, Partition


@dataclass(frozen=True)
class Ordered(Partition):
    """Blocks of neighbours, in the order of the data: chapters of a text, days of a recording. Nothing is drawn.

    >>> Ordered()(torch.zeros(5), clients=2)
    {'client 0': tensor([0, 1, 2]), 'client 1': tensor([3, 4])}
    """

    def assign(self, labels: Tensor, clients: int, draw: Generator) -> Sequence[Indices]:
        """The indices of each client's samples, in any order."""
        return np.array_split(np.arange(len(labels)), clients)
