"""A tensor missing, and one too many.

Source: what clients of Flower (https://github.com/adap/flower) may send without being refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack


@dataclass(frozen=True)
class WrongNames(Attack):
    """The first tensor under another name. `Guard` refuses it: "names".

    Args:
        suffix: what the name gets.

    >>> import numpy as np
    >>> own = Reply("eve", 3, {"w": torch.tensor([1.0, 2.0])}, weight=10.0)
    >>> list(WrongNames().forge(own, [], np.random.default_rng(0)).update)
    ['w.stranger']
    """

    sees = False

    suffix: str = ".stranger"

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of its own reply."""
        return replace(own, update={name + self.suffix * (i == 0): tensor for i, (name, tensor) in enumerate(own.update.items())})
