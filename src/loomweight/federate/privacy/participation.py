"""How often, and at what distance, one client may take part."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...errors import BadParameter


@dataclass(frozen=True)
class Participation:
    """Rounds of one client: at least `apart` from each other, at most `most` of them; or, `exact`, only at multiples of `apart` from each other.

    Paper: Multi-Epoch Matrix Factorization Mechanisms for Private Machine Learning (2022, https://arxiv.org/abs/2211.06530), section 2: with
    k = rounds / apart, `exact` is its (k, b)-participation, epochs in one order.

    Args:
        rounds: of the whole run.
        apart: b, the least distance.
        most: how often at most; None is as often as fits.
        exact: distances are multiples of `apart`, as with `Rota`.

    Raises:
        BadParameter: a number out of its range; fewer than fits, for exact distances.

    >>> Participation(rounds=12, apart=4).count, Participation(rounds=12, apart=4).allows([0, 5]), Participation(12, 4, exact=True).allows([0, 5])
    (3, True, False)
    """

    rounds: int
    apart: int = 1
    most: int | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        fits = -(-self.rounds // self.apart) if self.apart >= 1 else 0
        if self.rounds < 1 or not 1 <= self.apart <= self.rounds or (self.most is not None and self.most < 1):
            raise BadParameter(f"{self}: rounds and most are at least 1, apart is between 1 and rounds.")
        if self.exact and self.most is not None and self.most < fits:
            raise BadParameter(f"{self}: with exact distances a client takes part up to {fits} times; leave `most` out.")

    @property
    def count(self) -> int:
        """How often a client takes part at most."""
        fits = -(-self.rounds // self.apart)
        return fits if self.most is None else min(fits, self.most)

    def allows(self, took: Sequence[int]) -> bool:
        """Whether a client may take part in these rounds."""
        rounds = sorted(took)
        gaps = [later - earlier for earlier, later in pairwise(rounds)]
        inside = not rounds or (rounds[0] >= 0 and rounds[-1] < self.rounds)
        return inside and len(rounds) <= self.count and all(gap >= self.apart and (not self.exact or gap % self.apart == 0) for gap in gaps)

    def largest(self, values: NDArray[np.floating]) -> float:
        """max over what a client may do of the sum of values >= 0 at its rounds.

        Paper: (Amplified) Banded Matrix Factorization: A unified approach to private training (2023, https://arxiv.org/abs/2306.08153), algorithm 3.
        """
        if self.exact:
            return max(float(values[i :: self.apart].sum()) for i in range(self.apart))
        best = np.zeros(len(values) + self.apart)
        for _ in range(self.count):
            best[: len(values)] = values + best[self.apart :]
            best = np.maximum.accumulate(best[::-1])[::-1]
        return float(best[0])
