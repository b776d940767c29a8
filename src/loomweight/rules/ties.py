"""TIES: trim, elect a sign, merge what agrees."""

from ..edits import Trim
from ..weights import Weights
from .around import Around
from .each_set import Numbers, for_each
from .elect_sign import ElectSign
from .rule import Rule


def ties(base: Weights, keep: Numbers = 0.2, scale: float = 1.0, weights: tuple[float, ...] | None = None, normalize: bool = True) -> Rule:
    """base + scale * elected mean of the differences, each cut to its `keep` largest entries.

    Paper: TIES-Merging: Resolving Interference When Merging Models (2023, https://arxiv.org/abs/2306.01708), algorithm 1.
    We trim tensor by tensor, as mergekit does; the paper trims the whole task vector: Around(base, ElectSign(), (Trim(keep,
    by="model"),)).

    Args:
        base: the pretrained model.
        keep: part of the entries of each tensor that is kept; a sequence gives one for each set.
        scale: lambda.
        weights: one a set; None is 1 for each.
        normalize: average what agrees; False sums it.

    >>> import torch, loomweight as lw
    >>> zero = lw.Weights.of({"w": torch.zeros(3)})
    >>> sets = [{"w": torch.tensor([1.0, -2.0, 0.1])}, {"w": torch.tensor([3.0, 1.0, 0.2])}]
    >>> lw.combine(sets, ties(zero, keep=0.67))["w"]
    tensor([ 2., -2.,  0.])
    """
    return Around(base, ElectSign(weights, normalize), (for_each(Trim, keep),), scale)
