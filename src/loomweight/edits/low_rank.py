"""Keep the leading singular directions.

Paper: The approximation of one matrix by another of lower rank (1936, https://doi.org/10.1007/BF02288367), the theorem of
Eckart and Young.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float, Float64
from ..weights import BLOCK, Block, Spec
from ..weights.spec import spans
from .edit import Edit
from .ranges import within
from .rows import by_rows, width

# M rows, N columns, R the rank


@dataclass(frozen=True)
class LowRank(Edit):
    """The matrix of rank r that is nearest to x in the sum of squares: its r leading singular directions.

    A tensor with more than two axes is a matrix of its first axis against all others; vectors and scalars stay as they are.
    The directions come from the smaller of x^T x and x x^T in float64, so singular values below about 1e-8 of the largest are
    not told apart: far below the precision of float32 weights.

    Args:
        rank: r; a matrix with no more rows or columns than that stays as it is.
        energy: instead of rank, the share of the sum of squares that must be kept, from 0 to 1: the smallest such r.

    Raises:
        BadParameter: not exactly one of rank and energy is given, rank is below 1, or energy is not from 0 to 1.

    >>> LowRank(rank=1).apply(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
    tensor([[3., 0.],
            [0., 0.]])
    """

    rank: int | None = None
    energy: float | None = None

    def __post_init__(self) -> None:
        if (self.rank is None) == (self.energy is None):
            raise BadParameter(f"LowRank: give either rank or energy, found rank={self.rank}, energy={self.energy}.")
        if self.energy is not None:
            within(self, "energy", 0, 1)
        if self.rank is not None and self.rank < 1:
            raise BadParameter(f"LowRank: rank must be at least 1, found {self.rank}.")

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Decompose; the projection, or the thin factors, are kept."""
        columns = width(spec)
        rows = spec.numel // max(columns, 1)
        if len(spec.shape) < 2 or (self.rank or 0) >= min(rows, columns) or not spec.numel:
            return read
        if columns <= rows:
            right_NR = self._directions(_gram(read, rows, columns)).to(spec.work)
            return by_rows(read, columns, lambda rows_MN, first: rows_MN @ right_NR.to(rows_MN.device) @ right_NR.T.to(rows_MN.device))
        matrix_MN = read(0, spec.numel).reshape(rows, columns)
        left_MR = self._directions(_outer(matrix_MN)).to(matrix_MN)
        right_RN = left_MR.T @ matrix_MN
        return by_rows(read, columns, lambda rows_MN, first: left_MR[first : first + len(rows_MN)] @ right_RN)

    def _directions(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, "n r"]:
        squares, vectors = torch.linalg.eigh(gram)
        if self.rank is not None:
            return vectors[:, -self.rank :]
        kept = squares.clamp(min=0).flip(0).cumsum(0)
        assert self.energy is not None
        rank = int((kept < self.energy * kept[-1]).sum()) + 1 if self.energy > 0 else 0
        return vectors[:, len(vectors) - rank :]


def _gram(read: Block, rows: int, columns: int) -> Float64[Tensor, "n n"]:
    """x^T x, some rows at a time."""
    total = torch.zeros(columns, columns, dtype=torch.float64)
    for lo, hi in spans(rows, max(BLOCK // columns, 1)):
        part_MN = read(lo * columns, hi * columns).reshape(-1, columns).double()
        total = total.to(part_MN.device).addmm_(part_MN.T, part_MN)
    return total


def _outer(matrix_MN: Float[Tensor, "m n"]) -> Float64[Tensor, "m m"]:
    """x x^T, some columns at a time."""
    total = torch.zeros(len(matrix_MN), len(matrix_MN), dtype=torch.float64, device=matrix_MN.device)
    for part_MN in matrix_MN.split(max(BLOCK // len(matrix_MN), 1), dim=1):
        total.addmm_(part_MN.double(), part_MN.double().T)
    return total
