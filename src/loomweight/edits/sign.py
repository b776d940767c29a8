"""Keep the signs and one magnitude.

Paper: BitDelta: Your Fine-Tune May Only Be Worth One Bit (2024, https://arxiv.org/abs/2402.10193).
Original code: https://github.com/FasterDecoding/BitDelta.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

from ..weights import Block, Spec
from .edit import Edit
from .power import power
from .ranges import within


@dataclass(frozen=True)
class Sign(Edit):
    """x -> a sign(x), with a the mean of |x| over the tensor: the a that leaves the smallest squared error.

    Zeros stay zeros; the authors' one bit has no zero and gives them +a. They train a further on data, which is not done here.

    Args:
        scale: "mean", or a number that is at least 0.

    Raises:
        BadParameter: scale is another word, negative or NaN.

    >>> import torch
    >>> Sign().apply(torch.tensor([1.0, -3.0, 2.0]))
    tensor([ 2., -2.,  2.])
    """

    scale: float | Literal["mean"] = "mean"

    def __post_init__(self) -> None:
        if self.scale != "mean":
            within(self, "scale", 0, inf)

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Find the mean magnitude."""
        factor = power(read, spec.numel, 1) / max(spec.numel, 1) if self.scale == "mean" else self.scale
        return lambda lo, hi: read(lo, hi).sign().mul_(factor)
