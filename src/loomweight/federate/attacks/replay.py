"""An answer of an old round once more.

Source: what clients of Flower (https://github.com/adap/flower) may send without being refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack


@dataclass(frozen=True)
class Replay(Attack):
    """The reply says that it is of an earlier round. The server refuses it: "old-round".

    Args:
        rounds: how many rounds old.

    >>> import numpy as np
    >>> own = Reply("eve", 3, {"w": torch.tensor([1.0, 2.0])}, weight=10.0)
    >>> Replay().forge(own, [], np.random.default_rng(0)).round
    2
    """

    sees = False

    rounds: int = 1

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of its own reply."""
        return replace(own, round=own.round - self.rounds)
