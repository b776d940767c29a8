"""Noise instead of an update.

Paper: Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent
(2017, https://proceedings.neurips.cc/paper/2017/hash/f4b9ec30ad9f68f89b29639786cb62ef-Abstract.html), section 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack
from .forging import forged


@dataclass(frozen=True)
class Gaussian(Attack):
    """Normal numbers, drawn anew for each client and round.

    Args:
        mean: of the numbers.
        deviation: their standard deviation.

    >>> import numpy as np
    >>> honest = [{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}]
    >>> Gaussian().forge(Reply("eve", 0, honest[0]), honest, np.random.default_rng(0)).update["w"]
    tensor([0.1257])
    """

    mean: float = 0.0
    deviation: float = 1.0

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of the honest updates."""
        return forged(own, honest, lambda stack: torch.from_numpy(draw.normal(self.mean, self.deviation, tuple(stack.shape[1:]))))
