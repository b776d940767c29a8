"""Finite values so large that their squares overflow: what a sum, a norm or a distance in float32 does not survive.

Source: https://github.com/LPD-EPFL/byzfl, whose rules were tried with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack
from .forging import forged


@dataclass(frozen=True)
class TooLarge(Attack):
    """The same large value in every entry. Nothing in its form is wrong: the rule has to bear it, or `Guard(largest_norm=...)` to refuse it.

    Args:
        value: what is sent; it has to fit the dtype.

    >>> import numpy as np
    >>> honest = [{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}]
    >>> TooLarge().forge(Reply("eve", 0, honest[0]), honest, np.random.default_rng(0)).update["w"]
    tensor([1.0000e+20])
    """

    value: float = 1e20

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Whatever the others send."""
        return forged(own, honest, lambda stack: torch.full_like(stack[0], self.value))
