"""A product of two thin factors as a tensor that is read by blocks, and what LoRA and DoRA do with it.

The product is computed by groups of rows that do not depend on the span that is asked for: a matrix product of another
shape may round otherwise, and a tensor read whole must equal the same tensor read by blocks.

N, M = rows and columns of the product as the base stores the tensor, R = rank.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import NonFinite
from ..shapes import Float, Float64
from .spec import BLOCK, Block


@dataclass(frozen=True)
class LowRank:
    """scaling * left @ right.

    >>> LowRank(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0]]), scaling=0.5).block(1, 4)
    tensor([2., 3., 4.])
    """

    left: Float[Tensor, "N R"]
    right: Float[Tensor, "R M"]
    scaling: float

    @property
    def width(self) -> int:
        """Entries in a row."""
        return self.right.shape[1]

    def groups(self, lo: int = 0, hi: int | None = None) -> Iterator[tuple[int, int]]:
        """The spans of rows that are computed at once: those that hold any of the flat entries [lo, hi)."""
        size, height = max(1, BLOCK // max(1, self.width)), self.left.shape[0]
        end = height if hi is None else min(height, -(-hi // self.width))
        for first in range(lo // (size * max(1, self.width)) * size, end, size):
            yield first, min(first + size, height)

    def block(self, lo: int, hi: int) -> Float[Tensor, " n"]:
        """The flat entries [lo, hi), freshly computed: the caller may write into them."""
        out = torch.empty(hi - lo, dtype=self.left.dtype)
        for first, last in self.groups(lo, hi) if lo < hi else ():
            start, stop = first * self.width, last * self.width
            product = (self.left[first:last] @ self.right).reshape(-1)
            out[max(start - lo, 0) : stop - lo] = product[max(lo - start, 0) : hi - start]
        return out.mul_(self.scaling)


def added(base: Block, delta: LowRank) -> Block:
    """LoRA: base + delta."""
    return lambda lo, hi: delta.block(lo, hi).add_(base(lo, hi))


def decomposed(base: Block, delta: LowRank, magnitude: Float[Tensor, " k"], by_row: bool, name: str) -> Block:
    """DoRA: magnitude * (base + delta) / norm(base + delta), the norm over all entries of one output.

    Paper: DoRA: Weight-Decomposed Low-Rank Adaptation (2024), https://arxiv.org/abs/2402.09353, eq. 5. An output is a row
    of a linear or convolution weight, a column of an embedding's or of GPT-2's transposed linear.

    Raises:
        NonFinite: an output's norm is 0 (or not a number), so that its direction is not defined.
    """
    total, width = added(base, delta), delta.width
    factor = magnitude / _norms(total, delta, by_row).to(magnitude.dtype)
    if not torch.isfinite(factor).all():
        at = int(torch.nonzero(~torch.isfinite(factor))[0])
        raise NonFinite(f"tensor {name!r}: output {at} of base + delta has norm 0 or no finite one, so DoRA's direction is not defined.")

    def block(lo: int, hi: int) -> Tensor:
        first, last = lo // width, -(-hi // width)
        rows = total(first * width, last * width).view(-1, width)
        rows *= factor[first:last].unsqueeze(1) if by_row else factor
        return rows.view(-1)[lo - first * width : hi - first * width]

    return block


def _norms(total: Block, delta: LowRank, by_row: bool) -> Float64[Tensor, " k"]:
    """The norm of each output, in one pass over groups of rows."""
    groups = (total(first * delta.width, last * delta.width).view(-1, delta.width).double() for first, last in delta.groups())
    if by_row:
        return torch.cat([group.square_().sum(1) for group in groups]).sqrt_()
    squares = torch.zeros(delta.width, dtype=torch.float64)
    for group in groups:
        squares += group.square_().sum(0)
    return squares.sqrt_()
