"""DELLA: drop small changes more often than large ones, rescale the rest."""

from ..edits import Edit, KeepNorm, MagnitudeDrop
from ..weights import Weights
from .around import Around
from .dare import Rescale
from .each_set import Numbers, for_each
from .elect_sign import ElectSign
from .mean import Mean
from .rule import Rule


def della(base: Weights, density: Numbers = 0.5, epsilon: float = 0.1, scale: float = 1.0, rescale: Rescale = "expected", seed: int = 0) -> Rule:
    """base + scale * elected mean of the differences, each thinned by magnitude.

    Paper: DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling (2024,
    https://arxiv.org/abs/2406.11617), section 3.

    Args:
        base: the pretrained model.
        density: mean probability of being kept; a sequence gives one for each set.
        epsilon: half the range of that probability, from the smallest to the largest entry of a row.
        scale: lambda.
        rescale: as of `dare_linear`.
        seed: with each tensor's name and set, it decides what is dropped.

    >>> import torch, loomweight as lw
    >>> zero = lw.Weights.of({"w": torch.zeros(2)})
    >>> lw.combine([{"w": torch.tensor([1.0, 3.0])}, {"w": torch.tensor([2.0, -1.0])}], della(zero, density=1.0))["w"]
    tensor([1.5000, 3.0000])
    """
    return Around(base, ElectSign(), (for_each(lambda d: thinned(d, epsilon, rescale, seed), density),), scale)


def della_linear(base: Weights, density: Numbers = 0.5, epsilon: float = 0.1, scale: float = 1.0, rescale: Rescale = "expected", seed: int = 0) -> Rule:
    """base + scale * sum of the differences, each thinned by magnitude: DELLA without its election.

    Paper: DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling (2024,
    https://arxiv.org/abs/2406.11617), section 3.

    Args: as of `della`.

    >>> import torch, loomweight as lw
    >>> zero = lw.Weights.of({"w": torch.zeros(2)})
    >>> lw.combine([{"w": torch.tensor([1.0, 3.0])}, {"w": torch.tensor([2.0, -1.0])}], della_linear(zero, density=1.0))["w"]
    tensor([3., 2.])
    """
    return Around(base, Mean(normalize=False), (for_each(lambda d: thinned(d, epsilon, rescale, seed), density),), scale)


def thinned(density: float, epsilon: float, rescale: Rescale, seed: int) -> Edit:
    """The edit of DELLA's first step."""
    drop = MagnitudeDrop(density, epsilon, rescale=rescale == "expected", seed=seed)
    return KeepNorm(drop) if rescale == "norm" else drop
