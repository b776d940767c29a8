"""A tensor of another shape, which broadcasts into the right one.

Source: what clients of Flower (https://github.com/adap/flower) may send without being refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack


@dataclass(frozen=True)
class WrongShape(Attack):
    """The first tensor with a single entry in its place. `Guard` refuses it: "shape".

    >>> import numpy as np
    >>> own = Reply("eve", 3, {"w": torch.tensor([1.0, 2.0])}, weight=10.0)
    >>> WrongShape().forge(own, [], np.random.default_rng(0)).update["w"]
    tensor([1.])
    """

    sees = False

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of its own reply."""
        name = next(iter(own.update), None)
        if name is None:
            return own
        tensor = own.update[name]
        other = tensor.new_ones((1,)) if tensor.shape != (1,) else tensor.new_ones((2,))
        return replace(own, update={**own.update, name: other})
