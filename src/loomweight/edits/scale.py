"""Multiply by a number."""

from dataclasses import dataclass

from ..weights import Block, Spec
from .edit import Edit


@dataclass(frozen=True)
class Scale(Edit):
    """x -> factor * x.

    >>> import torch
    >>> Scale(0.5).apply(torch.tensor([2.0, -4.0]))
    tensor([ 1., -2.])
    """

    factor: float = 1.0

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Open the scaled tensor."""
        return lambda lo, hi: read(lo, hi) * self.factor
