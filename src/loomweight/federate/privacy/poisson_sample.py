"""Each client by itself with the same probability: what the privacy of sampling is proved for."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from numpy.random import Generator

from ...errors import BadParameter
from ..choosing import Choose


@dataclass(frozen=True)
class PoissonSample(Choose):
    """Every client is in a round with probability `rate`, whoever else is.

    Paper: Renyi Differential Privacy of the Sampled Gaussian Mechanism (2019, https://arxiv.org/abs/1908.10530), section 3. A fixed number of clients
    (`Sample`) is not covered by it. A round may have no client: `Guard(few="skip")` then goes on.

    Args:
        rate: the probability.

    Raises:
        BadParameter: it is not in (0, 1].

    >>> import numpy as np
    >>> counts = [len(PoissonSample(0.3).choose(0, ["c"] * 1000, np.random.default_rng(i))) for i in range(100)]
    >>> bool(290 < np.mean(counts) < 310 and np.std(counts) > 10)  # a fixed number would not vary
    True
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise BadParameter(f"PoissonSample: the rate is in (0, 1], found {self.rate}.")

    def choose(self, number: int, idle: Sequence[str], draw: Generator) -> Sequence[str]:
        """Those for whom the draw is below the rate."""
        return [client for client, u in zip(idle, draw.random(len(idle)), strict=True) if u < self.rate]

    def concurrent(self, clients: int) -> int:
        """The mean number, rounded up."""
        return ceil(self.rate * clients)
