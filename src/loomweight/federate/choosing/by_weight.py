"""Clients that have more are asked more often.

Paper: On the Convergence of FedAvg on Non-IID Data (2019, https://arxiv.org/abs/1907.02189), section 3.2, scheme I: with probabilities
proportional to the clients' weights, the plain mean of the updates is unbiased. We differ: there a client may be drawn twice in a round, here each is
asked once; systematic sampling keeps the chance of each exactly proportional, which drawing one after the other without replacement does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ...errors import BadParameter, unknown
from .choose import Choose


@dataclass(frozen=True)
class ByWeight(Choose):
    """Of `count` clients that are asked, client k is one with probability  count w_k / sum w, and surely where that is above 1.

    Then the plain mean of their updates has the weighted mean of all as its expectation, while nobody is sure to be asked; weigh the replies
    equally, or what is large counts twice.

    Args:
        count: clients a round.
        weights: of every client, such as its number of samples; not negative.

    Raises:
        BadParameter: no client is asked for, or a weight is negative. UnknownName: a client has no weight.

    >>> import numpy as np
    >>> chosen = [ByWeight(1, {"a": 1.0, "b": 3.0}).choose(i, ["a", "b"], np.random.default_rng(i))[0] for i in range(1000)]
    >>> 700 < chosen.count("b") < 800
    True
    """

    count: int
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        bad = [client for client, weight in self.weights.items() if not 0 <= weight < float("inf")]
        if self.count < 1 or bad:
            raise BadParameter(f"ByWeight: {f'the weight of {bad[0]!r} is negative or none' if bad else f'count is at least 1, found {self.count}'}.")

    def choose(self, number: int, idle: Sequence[str], draw: Generator) -> Sequence[str]:
        """Systematic sampling in a random order; those without weight are never asked. In the order of the clients."""
        lacking = [client for client in idle if client not in self.weights]
        if lacking:
            raise unknown("client in the weights", lacking[0], self.weights)
        order: list[int] = draw.permutation(len(idle)).tolist()
        chances = inclusion(np.array([self.weights[idle[place]] for place in order]), self.count)
        ends = np.cumsum(chances)
        ends[-1:] = np.rint(ends[-1:])
        begins = np.concatenate([[0.0], ends[:-1]])
        start = draw.random()
        hit = np.ceil(ends - start) > np.ceil(begins - start)
        return [idle[place] for place in sorted(place for place, asked in zip(order, hit, strict=True) if asked)]

    def concurrent(self, clients: int) -> int:
        """The count."""
        return self.count


def inclusion(weights: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Chances that are proportional to the weights, at most 1, and sum to `count`, or to how many have any weight.

    >>> inclusion(np.array([6.0, 1.0, 1.0, 0.0]), 2)
    array([1. , 0.5, 0.5, 0. ])
    """
    chances = np.zeros(len(weights))
    count = min(count, int((weights > 0).sum()))
    sure = np.zeros(len(weights), dtype=bool)
    while count > sure.sum():
        rest = np.where(sure, 0.0, weights)
        chances = np.where(sure, 1.0, (count - sure.sum()) * rest / rest.sum())
        over = (chances >= 1.0) & ~sure
        if not over.any():
            return chances
        sure |= over
    return sure.astype(np.float64)
