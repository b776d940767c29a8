"""Rules of BigNAS around the sandwich: dropout of the largest subnet only, and a learning rate that ends constant.

Paper: BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models (2020, https://arxiv.org/abs/2003.11142).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from ...errors import BadParameter
from ..elastic import Elastic


@contextmanager
def without_dropout(net: Elastic) -> Iterator[None]:
    """Nothing is dropped for a while: the rates of dropout layers, of dropped branches, and of attention that drops by a number of its own are 0."""
    with net.selected(net.max()):
        rates = [(module, key, rate) for module in net.modules() for key, rate in vars(module).items() if _drops(module, key, rate)]
    for module, key, _ in rates:
        setattr(module, key, 0.0)
    try:
        yield
    finally:
        for module, key, rate in rates:
            setattr(module, key, rate)


def _drops(module: nn.Module, key: str, rate: object) -> bool:
    """Whether an attribute is a rate of dropout, by its name or, where it is called `p`, by its layer's."""
    named = "drop" in key.lower() or (key == "p" and any(word in type(module).__name__.lower() for word in ("drop", "stochasticdepth")))
    return named and isinstance(rate, float) and 0 < rate <= 1


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
