"""Keep the entries of largest magnitude.

Paper: TIES-Merging: Resolving Interference When Merging Models (2023, https://arxiv.org/abs/2306.01708), the step "trim".
Original code: https://github.com/prateeky2806/ties-merging.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from ..shapes import Float
from ..weights import Block, Spec, Weights
from ..weights.algebra import refuse_integers, working
from .edit import Edit
from .groups import GRAINS, Grain, grouped
from .ranges import one_of, share_of, within
from .select import Cut, largest, largest_of


@dataclass(frozen=True)
class Trim(Edit):
    """Keep the k entries of largest magnitude and set the others to 0; of equal magnitudes the first by position are kept.

    k = max(1, floor(keep * n)) of the n entries of a tensor, a layer or the model (0 for keep = 0), and exactly k are kept:
    the threshold is the k-th largest magnitude itself, not an estimate.

    The paper takes the whole task vector (`by="model"`), and its code keeps every entry that is at least the (n - k)-th
    smallest: one more, and all ties. mergekit trims each tensor (`by="tensor"`), with this k and no order among ties.

    Args:
        keep: the share that is kept, from 0 to 1 (density).
        by: what the share is counted over: "tensor", "layer" (names alike up to their first number) or "model". Tensors follow
            each other in the order of their names. By "model", the data is read once when the edit is applied.

    Raises:
        BadParameter: keep is not from 0 to 1, or `by` is another word.
        NonFinite: an entry is NaN.

    >>> Trim(0.5).apply(torch.tensor([1.0, -3.0, 2.0, 2.0]))
    tensor([ 0., -3.,  2.,  0.])
    """

    keep: float
    by: Grain = "tensor"

    def __post_init__(self) -> None:
        within(self, "keep", 0, 1)
        one_of(self, "by", GRAINS)

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Find the threshold of this tensor alone."""
        return trimmed(read, largest(magnitude(read), spec.numel, share_of(self.keep, spec.numel), name))

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Find one threshold for each group of tensors."""
        if self.by == "tensor":
            return super().over(weights)
        refuse_integers(weights)
        cuts = grouped(weights, self.by, lambda names: self._cuts(weights, names))
        return lambda name: trimmed(working(weights, name), cuts(name)[name])

    def _cuts(self, weights: Weights, names: Sequence[str]) -> dict[str, Cut]:
        scores = [(magnitude(working(weights, name)), weights.spec[name].numel) for name in names]
        cuts = largest_of(scores, share_of(self.keep, sum(numel for _, numel in scores)), names)
        return dict(zip(names, cuts, strict=True))


def magnitude(read: Block) -> Block:
    """|x|, by blocks."""
    return lambda lo, hi: read(lo, hi).abs()


def trimmed(read: Block, cut: Cut) -> Block:
    """The entries whose magnitude the cut keeps, 0 for the others, by blocks."""
    return read if cut.threshold == -inf else lambda lo, hi: _kept(read(lo, hi), cut, lo)


def _kept(entries: Float[Tensor, " n"], cut: Cut, lo: int) -> Float[Tensor, " n"]:
    ties = cut.ties(lo, lo + len(entries))
    if ties in (0, len(entries)):
        return _shrunk(entries, cut.threshold, equal=ties > 0)
    return torch.cat([_shrunk(entries[:ties], cut.threshold, equal=True), _shrunk(entries[ties:], cut.threshold, equal=False)])


def _shrunk(entries: Tensor, threshold: float, equal: bool) -> Tensor:
    """The entries with |x| > threshold, or >= threshold, in one pass; others are 0."""
    number = np.float64 if entries.dtype == torch.float64 else np.float32
    bound = number(threshold)
    if bound > threshold or (equal and bound == threshold):
        bound = np.nextafter(bound, number(-inf))
    return hardshrink(entries, float(bound))
