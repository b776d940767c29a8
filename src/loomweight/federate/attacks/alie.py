"""A little is enough: as far from the mean as honest updates are, in every entry at once.

Paper: A Little Is Enough: Circumventing Defenses For Distributed Learning (2019, https://arxiv.org/abs/1902.06156), algorithm 3.
We differ, as byzfl 0.0.11 does: tau is given, not worked out of n and f.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack
from .forging import forged, spread


@dataclass(frozen=True)
class Alie(Attack):
    """h + tau s, h being the mean and s the standard deviation (n - 1) of the honest updates, entry by entry.

    Args:
        tau: z of the paper.

    >>> import numpy as np
    >>> honest = [{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}]
    >>> Alie(tau=1.0).forge(Reply("eve", 0, honest[0]), honest, np.random.default_rng(0)).update["w"]
    tensor([3.4142])
    """

    tau: float = 1.5

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of the honest updates."""
        return forged(own, honest, lambda stack: stack.mean(0) + self.tau * spread(stack))
