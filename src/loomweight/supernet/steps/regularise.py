"""Rules of BigNAS around the sandwich: dropout of the largest subnet only, and a learning rate that ends constant.

Paper: BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models (2020, https://arxiv.org/abs/2003.11142).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from ...errors import BadParameter
from ..elastic import Elastic

#: layers that drop whole branches, by the names that libraries give them
_BRANCHES = ("DropPath", "StochasticDepth", "DropBlock2d", "DropBlock3d")


@contextmanager
def without_dropout(net: Elastic) -> Iterator[None]:
    """Nothing is dropped for a while: dropout layers, dropped branches, and the dropout inside torch's attention."""
    with net.selected(net.max()):
        modules = list(net.modules())
    layers = [m for m in modules if m.training and (isinstance(m, nn.modules.dropout._DropoutNd) or type(m).__name__ in _BRANCHES)]
    rates = [(m, m.dropout) for m in modules if isinstance(m, nn.MultiheadAttention)]
    for layer in layers:
        layer.training = False
    for attention, _ in rates:
        attention.dropout = 0.0
    try:
        yield
    finally:
        for layer in layers:
            layer.training = True
        for attention, rate in rates:
            attention.dropout = rate


@dataclass(frozen=True)
class ExponentialThenConstant:
    """The factor of the learning rate after so many steps: max(decay^step, floor). For torch's LambdaLR.

    Part of: sandwich.

    Args:
        decay: for one step; it lies between 0 and 1.
        floor: where it ends. BigNAS ends at 0.05 of the first rate, where the smallest subnets profit most.

    Raises:
        BadParameter: decay or floor is not between 0 and 1.

    >>> factor = ExponentialThenConstant(decay=0.5, floor=0.05)
    >>> [factor(step) for step in (0, 1, 4, 5, 6)]
    [1.0, 0.5, 0.0625, 0.05, 0.05]
    """

    decay: float
    floor: float = 0.05

    def __post_init__(self) -> None:
        if not (0 < self.decay < 1 and 0 < self.floor < 1):
            raise BadParameter(f"decay and floor lie between 0 and 1, found {self.decay} and {self.floor}.")

    def __call__(self, step: int) -> float:
        """The factor after `step` steps."""
        return max(self.decay**step, self.floor)
