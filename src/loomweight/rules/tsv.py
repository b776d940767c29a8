"""TSV-merge: task vectors cut to their strongest singular directions, which are then made orthogonal to each other.

Paper: Task Singular Vectors: Reducing Task Interference in Model Merging (2024, https://arxiv.org/abs/2412.00081), algorithm 1.
Original code: https://github.com/AntoAndGar/task_singular_vectors at a6c97188.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float
from .whole import Whole


@dataclass(frozen=True)
class TaskSingularVectors(Whole):
    """On differences D_i of two axes: keep the first k singular triples of each, concatenate, whiten, multiply out.

    U = [U_1 .. U_n] and V likewise are replaced by the nearest matrices with orthonormal columns, P Q^T of their SVD P S Q^T;
    the result is U' diag(S_1 .. S_n) V'^T. Tensors of other than two axes are averaged, as in the authors' code.

    Args:
        keep: part of the singular triples kept of each set, in (0, 1]; None is 1 / n, the paper's choice.

    >>> rows = TaskSingularVectors()(torch.stack([torch.diag(torch.tensor([4.0, 0.0])), torch.diag(torch.tensor([0.0, 2.0]))]))
    >>> torch.round(rows.abs(), decimals=4)  # directions that do not interfere are all kept
    tensor([[4., 0.],
            [0., 2.]])
    """

    keep: float | None = None

    def __post_init__(self) -> None:
        if self.keep is not None and not 0 < self.keep <= 1:
            raise BadParameter(f"TaskSingularVectors: keep must lie in (0, 1], found {self.keep}.")

    def merge(self, name: str, stack: Float[Tensor, "n *shape"]) -> Float[Tensor, "*shape"]:
        """Merge matrices; average the rest."""
        return self(stack) if stack.ndim == 3 else stack.mean(0)

    def __call__(self, stack: Float[Tensor, "n a b"]) -> Float[Tensor, "a b"]:
        """The merged difference of n matrices."""
        left, values, right = torch.linalg.svd(stack, full_matrices=False)
        rank = values.shape[1]
        k = max(1, int(rank * (self.keep if self.keep is not None else 1 / len(stack))))
        lefts = _orthonormal(torch.cat(list(left[:, :, :k]), dim=1))
        rights = _orthonormal(torch.cat(list(right[:, :k, :]), dim=0))
        return (lefts * values[:, :k].reshape(-1)) @ rights


def _orthonormal(matrix: Float[Tensor, "a b"]) -> Float[Tensor, "a b"]:
    """The nearest matrix with orthonormal columns (or rows): the polar factor."""
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right
