"""A message many times as large as it should be.

Source: what clients of Flower (https://github.com/adap/flower) may send without being refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack


@dataclass(frozen=True)
class HugeMessage(Attack):
    """The first tensor so many times over. `Guard(largest_bytes=...)` refuses it: "too-large"; else its shape is wrong.

    Args:
        times: how many.

    >>> import numpy as np
    >>> own = Reply("eve", 3, {"w": torch.tensor([1.0, 2.0])}, weight=10.0)
    >>> HugeMessage().forge(own, [], np.random.default_rng(0)).update["w"].shape
    torch.Size([2000])
    """

    sees = False

    times: int = 1000

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of its own reply."""
        name = next(iter(own.update), None)
        if name is None:
            return own
        return replace(own, update={**own.update, name: own.update[name].reshape(-1).repeat(self.times)})
