"""Sign flip: the mean of the honest, turned round.

Paper: Byzantine-Resilient Non-Convex Stochastic Gradient Descent (2021, https://arxiv.org/abs/2012.14368), section 5.
As byzfl 0.0.11 has it, all hostile clients send the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack
from .forging import forged


@dataclass(frozen=True)
class SignFlip(Attack):
    """-scale h, h being the mean of the honest updates.

    Args:
        scale: how far.

    >>> import numpy as np
    >>> honest = [{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}]
    >>> SignFlip().forge(Reply("eve", 0, honest[0]), honest, np.random.default_rng(0)).update["w"]
    tensor([-2.])
    """

    scale: float = 1.0

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of the honest updates."""
        return forged(own, honest, lambda stack: -self.scale * stack.mean(0))
