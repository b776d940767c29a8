"""A product of two thin factors as a tensor that is read by blocks, and what LoRA and DoRA do with it.

A matrix product rounds otherwise for another shape and another number of threads, and a block must not depend on either. So
the factors are first put on a grid, left by rows and right by columns, of so many bits that every product and every
sum of products is exact in float64: then order cannot matter. The idea is that of Error-free transformations of matrix
multiplication by using fast routines of matrix multiplication and its applications (Ozaki, Ogita, Oishi, Rump, 2012),
https://doi.org/10.1007/s11075-011-9478-1, with one term where the result is rounded to float32 and three for float64. The
grid moves an entry by at most 2^-bits of the largest in its row or column: less than a float32 product loses.

N, M = rows and columns of the product as the base stores the tensor, R = rank.
"""

from dataclasses import dataclass
from math import ceil, log2

import torch
from torch import Tensor

from ..errors import NonFinite
from ..shapes import Float, Float64
from .spec import BLOCK, Block, spans


@dataclass(frozen=True)
class LowRank:
    """scaling * left @ right, in the dtype of the factors.

    >>> LowRank.of(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0]]), scaling=0.5).block(1, 4)
    tensor([2., 3., 4.])
    """

    terms: tuple[tuple[Float64[Tensor, "N R"], Float64[Tensor, "R M"]], ...]
    scaling: float
    dtype: torch.dtype

    @staticmethod
    def of(left: Float[Tensor, "N R"], right: Float[Tensor, "R M"], scaling: float) -> "LowRank":
        """Put the factors on their grids."""
        bits = (53 - ceil(log2(max(2, right.shape[0])))) // 2
        tall, wide = _on_grid(left.double(), 1, bits), _on_grid(right.double(), 0, bits)
        if left.dtype != torch.float64:
            return LowRank(((tall, wide),), scaling, left.dtype)
        tall_rest, wide_rest = _on_grid(left - tall, 1, bits), _on_grid(right - wide, 0, bits)
        return LowRank(((tall, wide), (tall, wide_rest), (tall_rest, wide)), scaling, left.dtype)

    @property
    def shape(self) -> tuple[int, int]:
        """N, M."""
        left, right = self.terms[0]
        return left.shape[0], right.shape[1]

    def block(self, lo: int, hi: int) -> Float[Tensor, " n"]:
        """The flat entries [lo, hi), freshly computed: the caller may write into them."""
        if lo >= hi:
            return torch.empty(0, dtype=self.dtype)
        width = self.shape[1]
        first, last = lo // width, -(-hi // width)
        (left, right), *more = self.terms
        product = left[first:last] @ right
        for left, right in more:
            product += left[first:last] @ right
        return product.mul_(self.scaling).view(-1)[lo - first * width : hi - first * width].to(self.dtype)


def _on_grid(factor: Float64[Tensor, "a b"], along: int, bits: int) -> Float64[Tensor, "a b"]:
    """Each entry as a whole number of units: 2^-bits of the power of two above the largest magnitude along its row or column."""
    if not factor.numel():
        return factor
    largest = factor.abs().amax(along, keepdim=True)
    power = (largest / torch.frexp(largest).mantissa).nan_to_num_(1.0)  # exact; a row of zeros, which has none, takes any
    unit = power.mul_(2.0**-bits)
    return torch.round(factor / unit).mul_(unit)


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
    total, width = added(base, delta), delta.shape[1]
    factor = magnitude / _norms(total, delta.shape, by_row).to(magnitude.dtype)
    if not torch.isfinite(factor).all():
        at = int(torch.nonzero(~torch.isfinite(factor))[0])
        raise NonFinite(f"tensor {name!r}: output {at} of base + delta has norm 0 or no finite one, so DoRA's direction is not defined.")

    def block(lo: int, hi: int) -> Tensor:
        first, last = lo // width, -(-hi // width)
        rows = total(first * width, last * width).view(-1, width)
        rows *= factor[first:last].unsqueeze(1) if by_row else factor
        return rows.view(-1)[lo - first * width : hi - first * width]

    return block


def _norms(total: Block, shape: tuple[int, int], by_row: bool) -> Float64[Tensor, " k"]:
    """The norm of each output, in one pass over groups of rows."""
    height, width = shape
    groups = (total(first * width, last * width).view(-1, width).double() for first, last in spans(height, max(1, BLOCK // width)))
    if by_row:
        return torch.cat([group.square_().sum(1) for group in groups]).sqrt_()
    squares = torch.zeros(width, dtype=torch.float64)
    for group in groups:
        squares += group.square_().sum(0)
    return squares.sqrt_()
