"""Clients that have exactly k classes.

Paper: Federated Learning on Non-IID Data Silos: An Experimental Study (2021, https://arxiv.org/abs/2102.02079), section IV-A, "#C = k": each party
gets k labels, and the samples of a label are divided among its owners in equal parts. Code read: Xtra-Computing/NIID-Bench, utils.py. We differ in
who owns what: there a party has class i mod K and k - 1 others at random, so with few parties a class may have no owner and is lost; here a
client takes the k classes with the fewest owners, ties drawn, so that owners differ by at most one and no class is without.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from torch import Tensor

from ...errors import BadParameter
from .partition import Indices, Partition, classes_of


@dataclass(frozen=True)
class LabelsPerClient(Partition):
    """Each client has exactly `k` classes; a class is divided in equal parts among the clients that have it.

    Raises:
        BadParameter: `k` is below 1 or more than there are classes; some class would have no owner, or fewer samples than owners.

    >>> labels = torch.arange(4).repeat(6)
    >>> [labels[part].unique().tolist() for part in LabelsPerClient(2)(labels, clients=4, seed=0).values()]
    [[1, 2], [0, 3], [1, 2], [0, 3]]
    """

    k: int = 2

    def __post_init__(self) -> None:
        if self.k < 1:
            raise BadParameter(f"{self} needs at least 1 class for each client.")

    def assign(self, labels: Tensor, clients: int, draw: Generator) -> Sequence[Indices]:
        """The indices of each client's samples, in any order."""
        classes = classes_of(self, labels)
        if not self.k <= len(classes) <= clients * self.k:
            enough = -(-len(classes) // self.k)
            raise BadParameter(f"{self} for {clients} clients cannot cover {len(classes)} classes: k goes up to {len(classes)}, with {enough} clients or more.")
        owners: list[list[int]] = [[] for _ in classes]
        for client in range(clients):
            crowd = np.array([len(owned) for owned in owners])
            for label in np.lexsort((draw.permutation(len(classes)), crowd))[: self.k]:
                owners[label].append(client)
        parts: list[list[Indices]] = [[] for _ in range(clients)]
        for members, owned in zip(classes, owners, strict=True):
            if len(members) < len(owned):
                raise BadParameter(f"{self}: the class {labels[members[0]].item()} has {len(members)} samples for {len(owned)} clients; take fewer clients.")
            for client, piece in zip(owned, np.array_split(draw.permutation(members), len(owned)), strict=True):
                parts[client].append(piece)
        return [np.concatenate(pieces) for pieces in parts]
