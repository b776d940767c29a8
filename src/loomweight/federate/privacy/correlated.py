"""Noise of one round that later rounds take back in part.

Paper: Multi-Epoch Matrix Factorization Mechanisms for Private Machine Learning (2022, https://arxiv.org/abs/2211.06530), section 2: A (x + C^-1 z)
is as private as C x + z, of which it is a function.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BadParameter
from ..pooling import Book
from .factorise import factorise, total_error
from .normal import normal
from .participation import Participation


@dataclass(frozen=True)
class Correlated:
    """Row t of C^-1 z, for the C of least error over all prefix sums: weights are prefix sums of updates.

    The privacy is that of one release over the whole run, so it depends on what a client may do: see `Rota`. Rows are made from the
    seed when they are needed, whatever their number: memory is that of two tensors, and round t draws t + 1 of them.

    Args:
        participation: rounds in all, and what one client may do in them.
        bands: of C; None is as many as the participation leaves.

    >>> noise = Correlated(Participation(rounds=16, apart=8, exact=True))
    >>> bool(noise.error < noise.independent_error / 2)  # at the same privacy
    True
    """

    participation: Participation
    bands: int | None = None

    @cached_property
    def strategy(self) -> NDArray[np.floating]:
        """C, of sensitivity 1."""
        return factorise(self.participation, self.bands)

    @cached_property
    def inverse(self) -> NDArray[np.floating]:
        """C^-1, lower triangular."""
        return np.tril(np.linalg.inv(self.strategy))

    @property
    def error(self) -> float:
        """||A C^-1||_F^2, the expected squared error of all prefix sums of an entry, for a multiplier of 1."""
        return total_error(self.strategy)

    @property
    def independent_error(self) -> float:
        """The same for independent noise with the same privacy."""
        n = self.participation.rounds
        return self.participation.count * n * (n + 1) / 2

    def noise(self, like: Tensor, number: int, seed: int, name: str) -> Tensor:
        """Row `number` of C^-1 z for a tensor.

        Raises:
            BadParameter: the round is beyond those that were planned.
        """
        self._planned(number)
        row = self.inverse[number]
        found = normal(like, seed, number, name) * float(row[number])
        for earlier in range(number):
            if row[earlier]:
                found.add_(normal(like, seed, earlier, name), alpha=float(row[earlier]))
        return found

    def taken(self, took: dict[str, list[int]], book: Book) -> dict[str, list[int]]:
        """In which rounds each client took part, this one among them.

        Raises:
            BadParameter: a client took part where the noise does not protect it.
        """
        self._planned(book.round)
        found = {**took, **{client: [*took.get(client, []), book.round] for client in book.answered}}
        for client in book.answered:
            if not self.participation.allows(found[client]):
                raise BadParameter(
                    f"client {client!r} answered in rounds {', '.join(map(str, found[client]))}, but the noise is for {self.participation}; "
                    f"choose=Rota({self.participation.apart}) keeps the distance."
                )
        return found

    def _planned(self, number: int) -> None:
        if number >= self.participation.rounds:
            raise BadParameter(f"round {number}: the noise is for {self.participation.rounds} rounds; plan more from the start.")
