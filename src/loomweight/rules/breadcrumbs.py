"""Model breadcrumbs: drop the largest and the smallest changes, add up the middle."""

from ..edits import DropBothEnds
from ..weights import Weights
from .around import Around
from .each_set import Numbers, for_each
from .elect_sign import ElectSign
from .mean import Mean
from .rule import Rule


def breadcrumbs(base: Weights, density: Numbers = 0.9, gamma: float = 0.01, scale: float = 1.0, weights: tuple[float, ...] | None = None) -> Rule:
    """base + scale * sum_i a_i middle(w_i - base).

    Paper: Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks (2023, https://arxiv.org/abs/2312.06795),
    section 3.

    Args:
        base: the pretrained model.
        density: part of the entries that is kept; a sequence gives one for each set.
        gamma: part of the largest entries that is dropped.
        scale: lambda.
        weights: a_i, one a set; None is 1 for each.

    >>> import torch, loomweight as lw
    >>> zero = lw.Weights.of({"w": torch.zeros(4)})
    >>> lw.combine([{"w": torch.tensor([4.0, -3.0, 2.0, 1.0])}], breadcrumbs(zero, density=0.5, gamma=0.25))["w"]
    tensor([ 0., -3.,  2.,  0.])
    """
    return Around(base, Mean(weights, normalize=False), (for_each(lambda d: DropBothEnds(d, gamma), density),), scale)


def breadcrumbs_ties(base: Weights, density: Numbers = 0.9, gamma: float = 0.01, scale: float = 1.0, weights: tuple[float, ...] | None = None) -> Rule:
    """base + scale * elected sum of the middles of the differences: breadcrumbs, then the sign election of TIES.

    Papers: Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks (2023, https://arxiv.org/abs/2312.06795);
    TIES-Merging: Resolving Interference When Merging Models (2023, https://arxiv.org/abs/2306.01708).

    Args: as of `breadcrumbs`.

    >>> import torch, loomweight as lw
    >>> zero = lw.Weights.of({"w": torch.zeros(4)})
    >>> lw.combine([{"w": torch.tensor([4.0, -3.0, 2.0, 1.0])}], breadcrumbs_ties(zero, density=0.5, gamma=0.25))["w"]
    tensor([ 0., -3.,  2.,  0.])
    """
    return Around(base, ElectSign(weights, normalize=False), (for_each(lambda d: DropBothEnds(d, gamma), density),), scale)
