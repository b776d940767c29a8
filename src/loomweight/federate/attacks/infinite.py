"""Inf in every entry: a diverged client.

Source: the misbehaviour of clients that a server has to refuse; byzfl (https://github.com/LPD-EPFL/byzfl) has `Inf`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack
from .forging import forged


@dataclass(frozen=True)
class Infinite(Attack):
    """Inf in every entry. `Guard` refuses it: "nonfinite".

    >>> import numpy as np
    >>> honest = [{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}]
    >>> Infinite().forge(Reply("eve", 0, honest[0]), honest, np.random.default_rng(0)).update["w"]
    tensor([inf])
    """

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Whatever the others send."""
        return forged(own, honest, lambda stack: torch.full_like(stack[0], float("inf")))
