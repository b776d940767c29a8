"""Clients that are alike but for how much they have.

Paper: Federated Learning on Non-IID Data Silos: An Experimental Study (2021, https://arxiv.org/abs/2102.02079), section IV-C, quantity skew:
sizes ~ n Dir(alpha). Code read: Xtra-Computing/NIID-Bench, utils.py, which draws until each has 10 samples; here the draws are counted. The power
law, sizes proportional to rank to the power -p, draws nothing but who gets which samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from torch import Tensor

from ...errors import BadParameter
from .drawn import large_enough
from .partition import Indices, Partition, cut


@dataclass(frozen=True)
class QuantitySkew(Partition):
    """Sizes differ, and each client's samples are drawn from all of the data.

    alpha:  sizes / n  ~  Dir(alpha, ..., alpha)
    power:  size of client i  proportional to  (i + 1) ** -power; the first client has the most

    Args:
        alpha: above 0, small for very unequal sizes.
        power: above 0, large for very unequal sizes. Exactly one of the two is given.
        smallest: the samples that every client has at least.

    Raises:
        BadParameter: not one of `alpha` and `power`, or out of range; or somebody would have fewer than `smallest` samples.

    >>> [len(part) for part in QuantitySkew(power=1.0)(torch.zeros(110), clients=3, seed=0).values()]
    [60, 30, 20]
    """

    alpha: float | None = None
    power: float | None = None
    smallest: int = 1

    def __post_init__(self) -> None:
        given = [value for value in (self.alpha, self.power) if value is not None]
        if len(given) != 1 or not 1e-6 <= given[0] <= 1e9 or self.smallest < 0:
            raise BadParameter(f"{self}: either alpha or power is given, between 1e-6 and 1e9, and smallest is 0 or more.")

    def assign(self, labels: Tensor, clients: int, draw: Generator) -> Sequence[Indices]:
        """The indices of each client's samples, in any order."""

        def parts() -> list[Indices]:
            shares = np.arange(1.0, clients + 1) ** -self.power if self.power else draw.dirichlet(np.full(clients, self.alpha or 0.0))
            return cut(draw.permutation(len(labels)), shares)

        return large_enough(self, self.smallest, parts, "Take fewer clients, sizes that differ less, or a lower `smallest`.")
