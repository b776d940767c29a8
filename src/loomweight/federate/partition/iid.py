"""Clients that are alike.

Paper: Communication-Efficient Learning of Deep Networks from Decentralized Data (2016, https://arxiv.org/abs/1602.05629), section 3: the data
is shuffled, then dealt out in equal parts. Sizes that do not divide differ by one here, where the paper's do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from torch import Tensor

from .partition import Indices, Partition


@dataclass(frozen=True)
class Iid(Partition):
    """A shuffled deck, dealt out: sizes differ by at most one.

    >>> {name: len(part) for name, part in Iid()(torch.zeros(10), clients=3, seed=0).items()}
    {'client 0': 4, 'client 1': 3, 'client 2': 3}
    """

    def assign(self, labels: Tensor, clients: int, draw: Generator) -> Sequence[Indices]:
        """The indices of each client's samples, in any order."""
        return np.array_split(draw.permutation(len(labels)), clients)
