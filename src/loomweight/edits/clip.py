"""Bound the size of a difference.

Paper: On the difficulty of training Recurrent Neural Networks (2012, https://arxiv.org/abs/1211.5063), algorithm 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Literal

from ..engines import current
from ..weights import Block, Spec, Weights
from ..weights.algebra import refuse_integers, working
from .edit import Edit
from .groups import GRAINS, grouped
from .power import power
from .ranges import one_of, within


@dataclass(frozen=True)
class Clip(Edit):
    """x -> x min(1, limit / ||x||_2), or every entry into [-limit, limit].

    Args:
        limit: the largest norm, or the largest magnitude; at least 0.
        by: whose norm: a "tensor"'s, a "layer"'s (names alike up to their first number), the "model"'s; or "entry".
            By "model", the data is read once when the edit is applied.

    Raises:
        BadParameter: limit is negative or NaN, or `by` is another word.

    >>> import torch
    >>> Clip(2.5, by="tensor").apply(torch.tensor([3.0, -4.0]))
    tensor([ 1.5000, -2.0000])
    >>> Clip(3.5, by="entry").apply(torch.tensor([3.0, -4.0]))
    tensor([ 3.0000, -3.5000])
    """

    limit: float
    by: Literal["entry", "tensor", "layer", "model"] = "model"

    def __post_init__(self) -> None:
        within(self, "limit", 0, inf)
        one_of(self, "by", ("entry", *GRAINS))

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Clip this tensor alone."""
        if self.by == "entry":
            return lambda lo, hi: read(lo, hi).clamp(-self.limit, self.limit)
        return self._scaled(read, power(read, spec.numel, 2))

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Find one norm for each group of tensors."""
        if self.by in ("entry", "tensor"):
            return super().over(weights)
        refuse_integers(weights)
        squares = grouped(weights, self.by, lambda names: self._squares(weights, names))
        return lambda name: self._scaled(working(weights, name), squares(name))

    def _squares(self, weights: Weights, names: Sequence[str]) -> float:
        return sum(current().map(lambda name: power(working(weights, name), weights.spec[name].numel, 2), names))

    def _scaled(self, read: Block, squares: float) -> Block:
        norm = sqrt(squares)
        return read if norm <= self.limit else lambda lo, hi: read(lo, hi) * (self.limit / norm)
