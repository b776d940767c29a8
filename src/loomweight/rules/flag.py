"""The flag aggregator: the mean of the sets' projections on the subspace that most of them agree on.

Paper: Flag Aggregator: Scalable Distributed Training under Failures and Augmented Losses using Convex Optimization
(2023, https://arxiv.org/abs/2302.05865), equation 5 and algorithm 1.
Original code: https://github.com/hamidralmasi/FlagAggregator at 1ae2c45.
We differ: everything happens in the sets' span, on the Gram matrix; it starts from the principal subspace instead of a random one
and runs to convergence, where the code takes one step; the pairwise term has the paper's directions, where the code takes
differences of unit vectors at their own length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float64
from .geometry import Matrix, Vector
from .rule import Weighing

Lengths = Literal["own", "median"]
_RANK = 1e-12  # directions below this part of the largest are no part of the span
_SMOOTH = 1e-7  # the code's, below the square root


@dataclass(frozen=True)
class FlagAggregator(Weighing):
    """The mean of the sets' projections on the subspace that most of them agree on.

    (1 / n) sum_i Y Y^T w_i, with Y an orthonormal basis of `rank` columns that minimises

    sum_i sqrt(1 - |Y^T w_i|^2 / |w_i|^2) + pairs / (n - 1) sum_{i != j} sqrt(1 - |Y^T (w_i - w_j)|^2 / |w_i - w_j|^2),

    found by iteratively reweighted principal components. For gradients and differences from a base (`Around`): it looks at
    angles at the origin.

    No breakdown point is proved. With lengths="own", the paper's, a huge set still pulls along the part of it that Y holds;
    with "median" all sets are scaled to the median length first, so no set moves the result by more than that.

    Args:
        rank: columns of Y; None is (n + 1) / 2, rounded up.
        pairs: the weight lambda of the pairwise term.
        lengths: "own", or "median" (the code scales to unit length).
        iterations: the most reweightings.
        tolerance: stop when the objective falls by less than this part of it.

    Raises:
        BadParameter: rank or iterations below 1, pairs negative, an unknown word for lengths.

    >>> from loomweight.rules import combine
    >>> sets = [{"w": torch.tensor(v)} for v in ([2.0, 0.1], [2.0, -0.1], [2.0, 0.0], [0.0, 50.0])]
    >>> combine(sets, FlagAggregator(rank=1))["w"].round(decimals=2)
    tensor([1.5000, 0.0000])
    """

    rank: int | None = None
    pairs: float = 0.0
    lengths: Lengths = "own"
    iterations: int = 100
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        if (self.rank is not None and self.rank < 1) or self.pairs < 0 or self.iterations < 1 or self.lengths not in get_args(Lengths):
            raise BadParameter(f"{self}: rank and iterations must be at least 1, pairs not negative, lengths one of {', '.join(get_args(Lengths))}.")

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """The factor of each set in the mean of the projections."""
        n = len(gram)
        sizes = np.sqrt(gram.numpy().diagonal().clip(min=0))
        if not sizes.any():
            return torch.full((n,), 1 / n, dtype=torch.float64)
        inverse = np.where(sizes > 0, 1 / np.where(sizes > 0, sizes, 1), 0)
        cosines = gram.numpy() * inverse * inverse[:, None]
        values, vectors = np.linalg.eigh(cosines)
        held = values > _RANK * values.max()
        root = vectors[:, held] * np.sqrt(values[held])  # row i: coordinates of w_i / |w_i| in the span
        basis = self._subspace(root, sizes)
        scale = sizes if self.lengths == "own" else np.full(n, np.median(sizes)) * (sizes > 0)
        aim = basis @ (basis.T @ (root.T @ scale)) / n
        return torch.from_numpy(inverse * (vectors[:, held] / np.sqrt(values[held]) @ aim))

    def _subspace(self, root: Matrix, sizes: Vector) -> Matrix:
        """The columns of Y, in coordinates of the span."""
        n = len(root)
        directions, weight = np.vstack([root, *_pairs(root, sizes, self.pairs)]), np.ones(n)
        weight = np.append(weight, np.full(len(directions) - n, 2 * self.pairs / max(n - 1, 1)))
        live = np.linalg.norm(directions, axis=1) > 0.5
        directions, weight = directions[live], weight[live]
        inner, best, basis = weight, np.inf, root.T[:, :0]
        for _ in range(self.iterations):
            found = np.linalg.eigh((directions * inner[:, None]).T @ directions)[1][:, ::-1][:, : self.rank or (n + 2) // 2]
            missed = np.sqrt((1 - np.square(directions @ found).sum(1)).clip(min=0) + _SMOOTH)
            value = float(weight @ missed)
            if value >= best * (1 - self.tolerance):
                break
            best, basis, inner = value, found, weight / missed
        return basis


def _pairs(root: Matrix, sizes: Vector, weight: float) -> Iterator[Matrix]:
    """The directions of all differences w_i - w_j, none where they are not asked for."""
    if not weight:
        return
    points = root * sizes[:, None]
    for i, j in combinations(range(len(root)), 2):
        apart = points[i] - points[j]
        length = np.linalg.norm(apart)
        yield (apart / length if length > 0 else apart)[None]
