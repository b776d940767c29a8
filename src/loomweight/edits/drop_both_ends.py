"""Drop the smallest and the largest entries.

Paper: Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks (2023, https://arxiv.org/abs/2312.06795).
Original code: https://github.com/rezazzr/breadcrumbs.
"""

from dataclasses import dataclass

from torch import Tensor

from ..shapes import Float
from ..weights import Block, Spec
from ..weights.held import held
from .edit import Edit
from .only import only
from .ranges import within
from .select import Cut, largest
from .trim import magnitude


@dataclass(frozen=True)
class DropBothEnds(Edit):
    """Set the t entries of largest magnitude to 0, keep the k next ones, set the rest to 0.

    Of the n entries of a tensor, k = floor(density * n) and t = min(floor(gamma * n), n - k): where both shares do not fit,
    fewer large ones are dropped. Of equal magnitudes the first by position count as the larger ones.

    This is mergekit's count; it leaves the order among ties open. The paper masks the same two tails of every layer; its code
    counts along the last axis alone, so that every row keeps as many.

    Args:
        density: the share that is kept, from 0 to 1; 1 keeps all.
        gamma: the share of the largest that is dropped, from 0 to 1.

    Raises:
        BadParameter: a share is not from 0 to 1.
        NonFinite: an entry is NaN.

    >>> import torch
    >>> DropBothEnds(density=0.5, gamma=0.25).apply(torch.tensor([4.0, -3.0, 2.0, 1.0]))
    tensor([ 0., -3.,  2.,  0.])
    """

    density: float
    gamma: float = 0.01

    def __post_init__(self) -> None:
        within(self, "density", 0, 1)
        within(self, "gamma", 0, 1)

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Find both thresholds."""
        kept = int(self.density * spec.numel)
        top = min(int(self.gamma * spec.numel), spec.numel - kept)
        score = held(magnitude(read), spec.numel)
        inner, outer = (largest(score, spec.numel, k, name) for k in (top, top + kept))
        return lambda lo, hi: _between(read(lo, hi), inner, outer, lo)


def _between(entries: Float[Tensor, " n"], inner: Cut, outer: Cut, lo: int) -> Float[Tensor, " n"]:
    size = entries.abs()
    return only(entries, outer.mask(size, lo) ^ inner.mask(size, lo))
