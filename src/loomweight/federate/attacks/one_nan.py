"""One NaN somewhere: enough to turn a mean, and most medians, to NaN.

Source: what clients of Flower (https://github.com/adap/flower) may send without being refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy.random import Generator

from ..plain import Reply, Tensors
from .attack import Attack
from .forging import first_floating


@dataclass(frozen=True)
class OneNaN(Attack):
    """NaN in one entry, drawn at random. `Guard` refuses it: "nonfinite".

    >>> import numpy as np
    >>> own = Reply("eve", 3, {"w": torch.tensor([1.0, 2.0])}, weight=10.0)
    >>> int(OneNaN().forge(own, [], np.random.default_rng(0)).update["w"].isnan().sum())
    1
    """

    sees = False

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of its own reply."""
        name = first_floating(own)
        if name is None:
            return own
        spoiled = own.update[name].clone()
        spoiled.view(-1)[int(draw.integers(spoiled.numel()))] = float("nan")
        return replace(own, update={**own.update, name: spoiled})
