"""A lie about the number of examples, which a weighted mean believes.

Source: what clients of Flower (https://github.com/adap/flower) may send without being refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack


@dataclass(frozen=True)
class WeightLie(Attack):
    """Another weight. `Guard` refuses what is not finite or negative, "weight", and `largest_share` cuts what is too much.

    Args:
        weight: what it says.

    >>> import numpy as np
    >>> own = Reply("eve", 3, {"w": torch.tensor([1.0, 2.0])}, weight=10.0)
    >>> WeightLie().forge(own, [], np.random.default_rng(0)).weight
    1000000000000.0
    """

    sees = False

    weight: float = 1e12

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of its own reply."""
        return replace(own, weight=self.weight)
