"""Bucketing: a rule over means of a few sets each, thrown together at random.

Paper: Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing (2022, https://arxiv.org/abs/2006.09365), algorithm 1.
Original code: https://github.com/epfml/byzantine-robust-noniid-optimizer at 1cbe521 (utils.py): the last bucket may be smaller, as here.
We differ: the draw is keyed by `seed` alone, so give another one each round (the number of the round).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..evidence.keyed import generator
from ..shapes import Float64
from .mixing import Mixing
from .sets import Sets


@dataclass(frozen=True)
class Bucketing(Mixing):
    """`rule` over the means of ceil(n / size) buckets of `size` sets each, drawn at random without replacement; the last may be smaller.

    Good buckets differ less from each other than good sets do, by 1 / size of their variance. But one bad set spoils its whole bucket:
    f bad sets among n are up to f bad buckets among ceil(n / size). So the rule's own f stays the number of bad SETS, and its bound has to
    hold for the number of BUCKETS: TrimmedMean(f) needs ceil(n / size) > 2 f.

    Breakdown point: that of `rule` for ceil(n / size) sets.

    Args:
        rule: a weighing or pointwise rule without weights of its own.
        size: sets in a bucket; 1 is the rule itself.
        seed: with the number of sets it decides the draw.

    Raises:
        TooFewSets: the rule is not defined for so few buckets.
        BadParameter: size below 1, a rule with weights, or of another shape.

    >>> from loomweight.rules import Median, combine
    >>> sets = [{"w": torch.tensor([x])} for x in (1.0, 1.0, 1.0, 1.0, 7.0, 7.0)]
    >>> combine(sets, Bucketing(Median(), size=2))["w"] <= 4
    tensor([True])
    """

    size: int = 2
    seed: int = 0

    def check(self, n: int) -> None:
        """Raise unless the rule is defined for so many buckets."""
        if self.size < 1:
            raise BadParameter(f"{self}: size must be at least 1.")
        if getattr(self.rule, "weights", None) is not None:
            raise BadParameter(f"{self}: a bucket is of sets drawn at random, so the rule cannot have weights.")
        super().check(n)

    def mixed_sets(self, n: int) -> int:
        """Buckets."""
        return -(-n // self.size)

    def matrix(self, sets: Sets, gram: Callable[[], Float64[Tensor, "n n"]]) -> Float64[Tensor, "m n"]:
        """1 / size for the sets of each bucket."""
        order = torch.randperm(len(sets), generator=generator("bucketing", self.seed, len(sets))).numpy()
        matrix = np.zeros((self.mixed_sets(len(sets)), len(sets)))
        for place, index in enumerate(order):
            matrix[place // self.size, index] = 1
        return torch.from_numpy(matrix / matrix.sum(1, keepdims=True))
