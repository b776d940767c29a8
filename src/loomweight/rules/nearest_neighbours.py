"""Means of nearest neighbours: around a trusted set, or as a mixing step before another rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float64
from .geometry import Matrix, squared_distances, tolerates
from .mixing import Mixing
from .rule import Weighing
from .sets import Sets


@dataclass(frozen=True)
class NearestNeighbourMean(Weighing):
    """The mean of a trusted set and the n - f - 1 sets nearest to it.

    Bound: f < n. While the trusted set and n - f - 1 others are good, the result lies within the good sets' diameter of the
    trusted one, whatever the rest holds: breakdown point n - 1 sets, the trusted one excepted.

    Paper: Robust Collaborative Learning with Linear Gradient Overhead (2022, https://arxiv.org/abs/2209.10931), algorithm 1
    (MoNNA's nearest-neighbour averaging).

    Args:
        f: how many sets may be bad.
        trusted: the index of the set that is known to be good (one's own).

    >>> from loomweight.rules import combine
    >>> combine([{"w": torch.tensor([x])} for x in (1.0, 2.0, 99.0)], NearestNeighbourMean(f=1))["w"]
    tensor([1.5000])
    """

    f: int = 0
    trusted: int = 0

    def check(self, n: int) -> None:
        """Raise unless f < n and there is such a set."""
        super().check(n)
        tolerates(self, n, self.f, self.f + 1, "n > f")
        if not 0 <= self.trusted < n:
            raise BadParameter(f"{self}: there are {n} sets, so trusted must lie in [0, {n - 1}].")

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """The trusted set keeps its role; it cannot be dropped."""
        if self.trusted not in kept:
            raise BadParameter(f"{self}: the trusted set {self.trusted} is the one that would be dropped; trust another one.")
        return replace(super().restricted(kept, n), trusted=list(kept).index(self.trusted))

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """1 / (n - f) for the neighbours."""
        return torch.from_numpy(_mixing(gram.numpy(), self.f)[self.trusted])


@dataclass(frozen=True)
class NearestNeighbourMixing(Mixing):
    """A rule over sets that were each replaced by the mean of its nearest neighbours.

    These are the n - f sets nearest to it, itself among them. Equally near sets are taken in their order. For a weighing
    rule the n x n mixing matrix M turns its Gram matrix G into M G M^T and its coefficients c into M^T c: no mixed set is
    ever computed.

    Bound: n > 2 f. The mixed good sets lie close together, so a rule with kappa-robustness gets the best order in f / n that
    heterogeneous sets allow; breakdown point as of `rule`.

    Paper: Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity (2023, https://arxiv.org/abs/2302.01772),
    algorithm 2.

    Args:
        rule: a weighing or pointwise rule.
        f: how many sets may be bad; give the rule the same.

    Raises:
        TooFewSets: n <= 2 f.
        BadParameter: a rule of another shape.

    >>> from loomweight.rules import Mean, combine
    >>> sets = [{"w": torch.tensor([x])} for x in (1.0, 4.0, 7.0)]
    >>> combine(sets, NearestNeighbourMixing(Mean(), f=1))["w"]  # of 2.5, 2.5 and 5.5
    tensor([3.5000])
    """

    f: int = 0

    def check(self, n: int) -> None:
        """Raise unless n > 2 f and the rule is one that can be mixed for."""
        tolerates(self, n, self.f, 2 * self.f + 1, "n > 2 f")
        super().check(n)

    def mixed_sets(self, n: int) -> int:
        """As many as there are."""
        return n

    def matrix(self, sets: Sets, gram: Callable[[], Float64[Tensor, "n n"]]) -> Float64[Tensor, "n n"]:
        """1 / (n - f) for the neighbours of each."""
        return torch.from_numpy(_mixing(gram().numpy(), self.f))


def _mixing(gram: Matrix, f: int) -> Matrix:
    """Row i: 1 / (n - f) for the n - f sets nearest to w_i."""
    n = len(gram)
    order = squared_distances(gram).argsort(axis=1, kind="stable")
    matrix = np.zeros((n, n))
    np.put_along_axis(matrix, order[:, : n - f], 1 / (n - f), axis=1)
    return matrix
