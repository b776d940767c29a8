"""A tensor of another dtype, which most code casts in silence.

Source: what clients of Flower (https://github.com/adap/flower) may send without being refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack
from .forging import first_floating


@dataclass(frozen=True)
class WrongDtype(Attack):
    """The first floating tensor in float64, or in float32 where it is that. `Guard` refuses it: "dtype".

    >>> import numpy as np
    >>> own = Reply("eve", 3, {"w": torch.tensor([1.0, 2.0])}, weight=10.0)
    >>> WrongDtype().forge(own, [], np.random.default_rng(0)).update["w"].dtype
    torch.float64
    """

    sees = False

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of its own reply."""
        name = first_floating(own)
        if name is None:
            return own
        other = torch.float32 if own.update[name].dtype == torch.float64 else torch.float64
        return replace(own, update={**own.update, name: own.update[name].to(other)})
