"""Clients as the data has them: by user.

Paper: LEAF: A Benchmark for Federated Settings (2018, https://arxiv.org/abs/1812.01097): writers, speakers and accounts are the clients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BadParameter
from .partition import Indices, Partition, numbered


@dataclass(frozen=True)
class Natural(Partition):
    """Each user is a client.

    Names are the users' own where they are words, and `user 07` where they are whole numbers.

    Args:
        users: who each sample is of: a word or a whole number for every sample.

    Raises:
        BadParameter: not one user for each sample; more clients are asked for than there are users.

    Fewer clients than users may be asked for: that many users are drawn, and the others take no part.

    >>> Natural(("ann", "bob", "ann"))(torch.tensor([0, 1, 1]))
    {'ann': tensor([0, 2]), 'bob': tensor([1])}
    """

    users: tuple[str, ...] | tuple[int, ...]

    @staticmethod
    def of(users: Sequence[str] | Sequence[int] | NDArray | Tensor) -> "Natural":
        """From a list, an array or a tensor.

        >>> Natural.of(torch.tensor([10, 9]))(torch.tensor([0, 1]))
        {'user 09': tensor([1]), 'user 10': tensor([0])}
        """
        return Natural(tuple(np.asarray(users).tolist()))

    def __repr__(self) -> str:
        return f"Natural({len(self.users)} samples of {len(set(self.users))} users)"

    def number(self, clients: int | None, samples: int) -> int:
        """How many clients there will be: all users, or as many as are asked for."""
        found = len(set(self.users))
        if len(self.users) != samples:
            raise BadParameter(f"{self} was given {samples} labels; there is one user for each sample.")
        if clients is not None and not 1 <= clients <= found:
            raise BadParameter(f"{self}: {clients} clients were asked for; from 1 to {found} can be had.")
        return clients or found

    def names(self, parts: Sequence[Indices]) -> list[str]:
        """The users that take part."""
        found = [self.users[part[0]] for part in parts]
        numbers = [user for user in found if isinstance(user, int)]
        return numbered("user", numbers) if len(numbers) == len(found) else [str(user) for user in found]

    def assign(self, labels: Tensor, clients: int, draw: Generator) -> Sequence[Indices]:
        """The indices of each user's samples; users in order."""
        _, owner = np.unique(np.array(self.users), return_inverse=True)
        order = np.argsort(owner, kind="stable")
        every = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
        return every if clients == len(every) else [every[user] for user in sorted(draw.choice(len(every), clients, replace=False))]
