"""Clients that saw few classes, in equal parts: the pathological split.

Paper: Communication-Efficient Learning of Deep Networks from Decentralized Data (2016, https://arxiv.org/abs/1602.05629), section 3: the data
is sorted by label and cut into 200 shards of 300; each of 100 clients gets two. Numbers that do not divide make shards that differ by one sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from torch import Tensor

from ...errors import BadParameter
from .partition import Indices, Partition, classes_of


@dataclass(frozen=True)
class Shards(Partition):
    """Sorted by label, cut into `clients * per_client` shards, and each client draws `per_client` of them.

    A client so has at most `per_client` classes where the shards end with the classes, and few more where they do not.

    Args:
        per_client: shards for each client.

    Raises:
        BadParameter: `per_client` is below 1, or there are fewer samples than shards.

    >>> labels = torch.arange(4).repeat(6)
    >>> [labels[part].tolist() for part in Shards(1)(labels, clients=4, seed=0).values()]
    [[3, 3, 3, 3, 3, 3], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [2, 2, 2, 2, 2, 2]]
    """

    per_client: int = 2

    def __post_init__(self) -> None:
        if self.per_client < 1:
            raise BadParameter(f"{self} needs at least 1 shard for each client.")

    def assign(self, labels: Tensor, clients: int, draw: Generator) -> Sequence[Indices]:
        """The indices of each client's samples, in any order."""
        shards = clients * self.per_client
        if shards > len(labels):
            raise BadParameter(f"{self} for {clients} clients needs {shards} samples, one for each shard; found {len(labels)}.")
        by_label = np.concatenate([draw.permutation(members) for members in classes_of(self, labels)])
        cuts = np.array_split(by_label, shards)
        dealt = draw.permutation(shards).reshape(clients, self.per_client)
        return [np.concatenate([cuts[shard] for shard in hand]) for hand in dealt]
