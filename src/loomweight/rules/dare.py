"""DARE: drop most of each difference at random, rescale the rest."""

from typing import Literal

from ..edits import Drop, Edit, KeepNorm
from ..weights import Weights
from .around import Around
from .each_set import Numbers, for_each
from .elect_sign import ElectSign
from .mean import Mean
from .rule import Rule

Rescale = Literal["expected", "norm", "none"]


def dare_linear(
    base: Weights,
    density: Numbers = 0.5,
    scale: float = 1.0,
    weights: tuple[float, ...] | None = None,
    normalize: bool = False,
    rescale: Rescale = "expected",
    seed: int = 0,
) -> Rule:
    """base + scale * sum_i a_i drop(w_i - base).

    Paper: Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch (2023,
    https://arxiv.org/abs/2311.03099), equation 2.

    Args:
        base: the pretrained model.
        density: probability with which an entry is kept (1 - p of the paper); a sequence gives one for each set.
        scale: lambda.
        weights: a_i, one a set; None is 1 for each.
        normalize: divide by the sum of the a_i.
        rescale: "expected" divides by the density, so that the expectation stays; "norm" keeps each tensor's sum of
            magnitudes, as mergekit does; "none" does neither.
        seed: with each tensor's name and set, it decides what is dropped.

    >>> import torch, loomweight as lw
    >>> zero = lw.Weights.of({"w": torch.zeros(4)})
    >>> lw.combine([{"w": torch.ones(4)}], dare_linear(zero, density=1.0))["w"]
    tensor([1., 1., 1., 1.])
    """
    return Around(base, Mean(weights, normalize), (for_each(lambda d: _drop(d, rescale, seed), density),), scale)


def dare_ties(
    base: Weights,
    density: Numbers = 0.5,
    scale: float = 1.0,
    weights: tuple[float, ...] | None = None,
    normalize: bool = False,
    rescale: Rescale = "expected",
    seed: int = 0,
) -> Rule:
    """base + scale * elected sum of the dropped differences: DARE, then the sign election of TIES.

    Papers: Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch (2023,
    https://arxiv.org/abs/2311.03099); TIES-Merging: Resolving Interference When Merging Models (2023,
    https://arxiv.org/abs/2306.01708).

    Args: as of `dare_linear`; normalize averages what agrees instead of summing it.

    >>> import torch, loomweight as lw
    >>> zero = lw.Weights.of({"w": torch.zeros(2)})
    >>> lw.combine([{"w": torch.tensor([1.0, 3.0])}, {"w": torch.tensor([2.0, -1.0])}], dare_ties(zero, density=1.0))["w"]
    tensor([3., 3.])
    """
    return Around(base, ElectSign(weights, normalize), (for_each(lambda d: _drop(d, rescale, seed), density),), scale)


def _drop(density: float, rescale: Rescale, seed: int) -> Edit:
    drop = Drop(1 - density, rescale=rescale == "expected", seed=seed)
    return KeepNorm(drop) if rescale == "norm" else drop
