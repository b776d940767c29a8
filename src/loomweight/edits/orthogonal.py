"""Take out of a difference what merely rescales the base."""

from dataclasses import dataclass

import torch

from ..weights import Block, Spec, Weights
from ..weights.algebra import working
from ..weights.gram import products
from ..weights.spec import spans
from .edit import Edit


@dataclass(frozen=True)
class Orthogonal(Edit):
    """x -> x - <x, w> / <w, w> w, tensor by tensor, for w of `to`; x itself where w is zero.

    >>> Orthogonal(Weights.of({"w": torch.tensor([2.0, 0.0])})).apply(torch.tensor([5.0, 3.0]), "w")
    tensor([0., 3.])
    """

    to: Weights

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """One pass for the two inner products."""
        other = working(self.to, name)
        inner = sum((products(torch.stack([read(lo, hi), other(lo, hi)])) for lo, hi in spans(spec.numel)), torch.zeros(2, 2, dtype=torch.float64))
        share = float(inner[0, 1] / inner[1, 1]) if inner[1, 1] > 0 else 0.0
        return lambda lo, hi: read(lo, hi) - share * other(lo, hi)
