"""Mimic: all hostile clients send what one honest client sends, so that it counts several times. Nothing about it looks wrong.

Paper: Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing (2022, https://arxiv.org/abs/2006.09365), section 3.2.
We differ, as byzfl 0.0.11 does: the client to copy is given, not searched for over rounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack
from .forging import forged


@dataclass(frozen=True)
class Mimic(Attack):
    """The update of one honest client.

    Args:
        index: which, in the order in which they were asked.

    >>> import numpy as np
    >>> honest = [{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}]
    >>> Mimic(1).forge(Reply("eve", 0, honest[0]), honest, np.random.default_rng(0)).update["w"]
    tensor([3.])
    """

    index: int = 0

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of the honest updates."""
        return forged(own, honest, lambda stack: stack[self.index % len(stack)])
