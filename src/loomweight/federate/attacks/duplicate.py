"""An answer in the name of another client.

Source: what clients of Flower (https://github.com/adap/flower) may send without being refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack


@dataclass(frozen=True)
class Duplicate(Attack):
    """The reply carries the name of another client, who is then counted twice unless the server refuses the second: "duplicate".

    Args:
        client: whose name.

    >>> import numpy as np
    >>> own = Reply("eve", 3, {"w": torch.tensor([1.0, 2.0])}, weight=10.0)
    >>> Duplicate("ann").forge(own, [], np.random.default_rng(0)).client
    'ann'
    """

    sees = False

    client: str

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of its own reply."""
        return replace(own, client=self.client)
