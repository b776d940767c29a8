"""The singular-vector diagnostic: does a permutation turn the directions that matter towards one another?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..edits.edit import Edit
from ..errors import BadParameter, NamesDiffer, NonFinite, ShapesDiffer
from ..weights import Weights
from ..weights.axes.table import Axes
from ..weights.names import difference


@dataclass(frozen=True)
class SingularAlignment:
    """How well the singular vectors of two sets' matrices agree, before and after an edit of the moving set.

    Args:
        before: tensor -> R(reference, moving), from -1 to 1.
        after: tensor -> R(reference, edit(moving)).
        counts: tensor -> how many singular values of the reference and of the moving set count.
        gamma: those of at least this share of the largest count.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    counts: Mapping[str, tuple[int, int]]
    gamma: float

    @property
    def total(self) -> tuple[float, float]:
        """(before, after) over all tensors: the sum of their overlaps over the sum of their counts."""
        sizes = {name: (a * b) ** 0.5 for name, (a, b) in self.counts.items()}
        whole = sum(sizes.values()) or 1.0
        return tuple(sum(sizes[name] * part[name] for name in sizes) / whole for part in (self.before, self.after))  # type: ignore[return-value]

    def __str__(self) -> str:
        width = max((len(name) for name in self.before), default=6)
        lines = [f"{'tensor':<{width}}  before   after  counted"]
        lines += [f"{name:<{width}}  {self.before[name]:+.3f}  {self.after[name]:+.3f}  {min(self.counts[name])}" for name in self.before]
        before, after = self.total
        return "\n".join([*lines, f"{'together':<{width}}  {before:+.3f}  {after:+.3f}"])


def singular_alignment(axes: Axes, moving: Weights, reference: Weights, edit: Edit, *, gamma: float = 0.3) -> SingularAlignment:
    """R(A, B) = sum over i, j of (u_i . u'_j) (v_i . v'_j) / sqrt(n n') for each matrix, before and after `edit` is applied to the moving set.

    u, v are the singular vectors of the reference's matrix whose singular values are at least gamma times its largest (n of them); u',
    v' and n' those of the moving set's. R is 1 where the dominant directions are the same, about 0 for matrices that have nothing in
    common. Inner products of matrices are sum s_i s'_j (u_i . u'_j) (v_i . v'_j), so weight matching raises the terms of the large singular
    values. A permutation turns singular vectors and leaves the singular values as they are.

    A matrix is a tensor of at least two axes, floating, one row for each entry of the first axis (convolutions are flattened behind it).

    Paper: Analysis of Linear Mode Connectivity via Permutation-Based Weight Matching (2024, https://arxiv.org/abs/2402.04051), section 4.
    Its R is one number for the whole model, the sum over layers, i and j divided by the sum of the layers' n, which is `total` here where both
    sets have equally many dominant values (gamma = 0, or singular values alike). Where they have not we divide by the geometric mean, so that
    R stays between -1 and 1. The authors' code is not public as far as we found; the formula is as reviews of the paper quote it.

    Args:
        axes: the table that fits both sets.
        moving: the set before the edit.
        reference: stays.
        edit: what a matching returned.
        gamma: 0 counts all singular vectors.

    Raises:
        BadParameter: gamma is not from 0 to 1; no tensor is a matrix.
        NamesDiffer, ShapesDiffer: the sets do not fit the table or one another.
        NonFinite: a matrix holds NaN or Inf.

    >>> from loomweight.edits import Permute
    >>> from loomweight.weights.axes import axes, random_orders
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    >>> table, weights = axes(model, torch.zeros(1, 4)), lw.load(model)
    >>> shuffled = Permute.by(table, random_orders(table))(weights)
    >>> found = singular_alignment(table, shuffled, weights, lw.align.weight_matching(table, shuffled, weights))
    >>> [round(value, 6) for value in found.after.values()]
    [1.0, 1.0]
    """
    if not 0 <= gamma <= 1:
        raise BadParameter(f"gamma is the share of the largest singular value, from 0 to 1; found {gamma}.")
    moved = edit(moving)
    for weights in (moving, reference):
        axes.fits(weights)
    if lacking := difference(moved.names, reference.names):
        raise NamesDiffer(f"the edited and the reference set hold different tensors: {lacking}.")
    before, after, counts = {}, {}, {}
    for name in _matrices(reference):
        if moved.spec[name].shape != reference.spec[name].shape:
            raise ShapesDiffer(f"tensor {name!r} has shape {moved.spec[name].shape} after the edit, {reference.spec[name].shape} in the reference.")
        own = _dominant(reference[name], gamma, name)
        other, turned = (_dominant(each[name], gamma, name) for each in (moving, moved))
        before[name], after[name], counts[name] = _overlap(own, other), _overlap(own, turned), (own[0].shape[1], other[0].shape[1])
    if not counts:
        raise BadParameter("no tensor of the sets is a matrix, so there are no singular vectors to compare.")
    return SingularAlignment(before, after, counts, gamma)


def _matrices(weights: Weights) -> Iterator[str]:
    return (name for name in weights.physical if weights.spec[name].averages and len(weights.spec[name].shape) > 1)


def _dominant(tensor: Tensor, gamma: float, name: str) -> tuple[Tensor, Tensor]:
    """Left and right singular vectors, in columns, of the values that count."""
    matrix = tensor.to("cpu", torch.float64).flatten(1)
    if not matrix.isfinite().all():
        raise NonFinite(f"tensor {name!r} holds NaN or Inf, so it has no singular vectors; look for what diverged there.")
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    largest = values.max() if len(values) else values.new_zeros(())
    kept = (values >= gamma * largest) & (values > 1e-12 * largest)
    return left[:, kept], right[kept].T


def _overlap(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    counts = first[0].shape[1] * second[0].shape[1]
    return float(((first[0].T @ second[0]) * (first[1].T @ second[1])).sum()) / counts**0.5 if counts else 0.0
