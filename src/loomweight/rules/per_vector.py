"""A weighing rule on every row, or every column, of a tensor alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float, Float64
from ..weights import BLOCK, Block
from ..weights.spec import spans
from .rule import Opener, Rule, Weighing
from .sets import Sets

Stack = Callable[[int, int], Tensor]

# N = weight sets, V = vectors of a tensor, K = rows at once, S = entries of a row


@dataclass(frozen=True)
class PerVector(Rule):
    """A weighing rule on every row, or every column, of a tensor alone.

    One Gram matrix, and so one coefficient for each set, for every vector.

    Args:
        rule: for the vectors of all sets that lie at the same place.
        axis: -1: a vector runs along the last axis (the row of a matrix). 0: along the first (a column). Tensors of one axis or none are
            one vector.

    Opening a tensor reads it once for the Gram matrices; the result reads it a second time.

    >>> from loomweight.rules import Slerp, combine
    >>> a, b = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    >>> combine([{"w": a}, {"w": b}], PerVector(Slerp(0.5)))["w"]
    tensor([[0.7071, 0.7071],
            [2.0000, 0.0000]])
    """

    rule: Weighing
    axis: Literal[-1, 0] = -1

    def __post_init__(self) -> None:
        if self.axis not in (-1, 0):
            raise BadParameter(f"PerVector: axis must be -1 (rows) or 0 (columns), found {self.axis!r}.")

    def check(self, n: int) -> None:
        """As the inner rule."""
        self.rule.check(n)

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """The inner rule restricted."""
        return replace(self, rule=self.rule.restricted(kept, n))

    def bind(self, sets: Sets) -> Opener:
        """Compute the coefficients of a tensor when it is opened."""
        self.check(len(sets))
        sets.refuse_mask(self)

        def open_(name: str) -> Block:
            spec, stack = sets.spec(name), sets.open(name)
            if not spec.numel:
                return lambda lo, hi: stack(lo, hi)[0]
            size = (spec.shape[-1] if self.axis else spec.numel // spec.shape[0]) if len(spec.shape) > 1 else spec.numel
            rows = self.axis == -1 or len(spec.shape) < 2
            factors = self.rule.coefficients_of_each(_grams(stack, spec.numel, size, rows)).T
            excess = (factors.sum(0, keepdim=True) - 1).to(sets.work(name))
            table = torch.cat([excess, factors[1:].to(excess.dtype)])
            return lambda lo, hi: _mixed(stack(lo, hi), _spread(table, size, rows, lo, hi))

        return open_


def _grams(stack: Stack, numel: int, size: int, rows: bool) -> Float64[Tensor, "v n n"]:
    """The Gram matrices of rows of `size` entries, or of the `size` columns that such rows form."""
    parts = []
    for lo, hi in spans(numel, max(BLOCK // size, 1) * size):
        block_NKS = stack(lo, hi).double().unflatten(1, (-1, size))
        block_NKS[1:] -= block_NKS[0].clone()
        part_VNN = torch.stack([torch.stack([(a * b).sum(int(rows)) for b in block_NKS], -1) for a in block_NKS], -1)
        parts.append(part_VNN)
    centred = torch.cat(parts) if rows else torch.stack(parts).sum(0)
    own, across = centred[:, :1, :1].clone(), centred[:, :1, :].clone()
    across[:, :, 0] = 0
    centred[:, 0, :] = centred[:, :, 0] = 0
    return centred + own + across + across.mT


def _spread(table: Float[Tensor, "n v"], size: int, rows: bool, lo: int, hi: int) -> Float[Tensor, "n p"]:
    """What the table says for each of the entries [lo, hi)."""
    first, last = lo // size, (hi - 1) // size + 1
    if rows and last - first == 1:
        return table[:, first:last].expand(-1, hi - lo)
    grid = table[:, first:last, None].expand(-1, -1, size) if rows else table[:, None, :].expand(-1, last - first, -1)
    return grid.flatten(1)[:, lo - first * size : hi - first * size]


def _mixed(stack: Float[Tensor, "n p"], table: Float[Tensor, "n p"]) -> Float[Tensor, " p"]:
    """w_0 + sum_i c_i (w_i - w_0) + (sum_i c_i - 1) w_0: small differences keep their precision."""
    start, total = stack[0], stack[0]
    for block, factor in zip(stack[1:], table[1:], strict=True):
        total = torch.addcmul(total, block - start, factor)
    return torch.addcmul(total, start, table[0])
