"""Drop entries at random and rescale the others.

Paper: Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch (2023,
https://arxiv.org/abs/2311.03099). Original code: https://github.com/yule-BUAA/MergeLM.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..weights import Block, Spec
from .choice import Choice
from .draws import Draws
from .edit import Edit
from .only import only
from .ranges import within


@dataclass(frozen=True)
class Drop(Edit):
    """x -> m x / (1 - rate), every m = 0 with probability `rate`, else 1: the expectation is x.

    mergekit rescales so that the sum of magnitudes stays what it was: that is KeepNorm(Drop(rate, rescale=False)).

    Args:
        rate: the probability of being dropped, from 0 to 1; 1 gives zeros.
        rescale: divide by 1 - rate.
        seed: other seeds draw other entries. Two random edits in a row need two seeds.
        stream: the number of the set among several; `on_stream` sets it.

    Raises:
        BadParameter: rate is not from 0 to 1.

    >>> Drop(0.5).apply(torch.ones(100), "w").unique()
    tensor([0., 2.])
    """

    rate: float
    rescale: bool = True
    seed: int = 0
    stream: int = 0

    def __post_init__(self) -> None:
        within(self, "rate", 0, 1)

    def on_stream(self, stream: int) -> Self:
        """Draw other numbers for the `stream`-th of several sets."""
        return replace(self, stream=stream)

    def choice(self, name: str, spec: Spec) -> Choice | None:
        """The draws, without `rescale`."""
        draws = self._draws(name, spec)
        return None if self.rescale else Choice(lambda sizes, first: draws.below(1 - self.rate, first, first + len(sizes)))

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Draw block by block: nothing is kept."""
        if self.rate == 0:
            return read
        draws = self._draws(name, spec)
        factor = 1 / (1 - self.rate) if self.rescale and self.rate < 1 else 1.0

        def block(lo: int, hi: int) -> Tensor:
            kept = only(read(lo, hi), torch.from_numpy(draws.below(1 - self.rate, lo, hi)))
            return kept if factor == 1 else kept.mul_(factor)

        return block

    def _draws(self, name: str, spec: Spec) -> Draws:
        return Draws(("Drop", self.seed, self.stream, name), spec.numel)
