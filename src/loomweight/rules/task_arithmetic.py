"""Task arithmetic: add what fine-tuning changed."""

from ..weights import Weights
from .around import Around
from .mean import Mean
from .rule import Rule


def task_arithmetic(base: Weights, scale: float = 1.0, weights: tuple[float, ...] | None = None, normalize: bool = False) -> Rule:
    """base + scale * sum_i a_i (w_i - base); a negative a_i makes the model forget a task.

    Paper: Editing Models with Task Arithmetic (2022, https://arxiv.org/abs/2212.04089), section 2.

    Args:
        base: the pretrained model.
        scale: lambda.
        weights: a_i, one a set; None is 1 for each.
        normalize: divide by the sum of the a_i.

    >>> import torch, loomweight as lw
    >>> zero = lw.Weights.of({"w": torch.zeros(1)})
    >>> lw.combine([{"w": torch.tensor([1.0])}, {"w": torch.tensor([4.0])}], task_arithmetic(zero, scale=0.5))["w"]
    tensor([2.5000])
    """
    return Around(base, Mean(weights, normalize), scale=scale)
