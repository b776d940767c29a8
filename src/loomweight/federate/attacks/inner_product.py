"""Inner product manipulation (fall of empires): a small step against the honest mean, which may turn the pooled one.

Paper: Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation (2019, https://arxiv.org/abs/1903.03936), equation 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack
from .forging import forged


@dataclass(frozen=True)
class InnerProduct(Attack):
    """-tau h, h being the mean of the honest updates.

    Args:
        tau: epsilon of the paper, which finds small values the most harmful against Krum and the median; 2 is what byzfl 0.0.11 takes.

    >>> import numpy as np
    >>> honest = [{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}]
    >>> InnerProduct(tau=0.5).forge(Reply("eve", 0, honest[0]), honest, np.random.default_rng(0)).update["w"]
    tensor([-1.])
    """

    tau: float = 2.0

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of the honest updates."""
        return forged(own, honest, lambda stack: -self.tau * stack.mean(0))
