"""The Karcher mean: the direction with the least sum of squared angles to the sets' directions.

Paper: Spherical Averages and Applications to Spherical Splines and Interpolation (2001, https://doi.org/10.1145/502122.502124),
algorithm A1.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float64
from .geometry import Matrix, Vector, refuse_negative, shares
from .per import Per
from .rule import Rule, Weighing

_CANCELS = 1e-3
_OPPOSITE = 1e-2  # radians


@dataclass(frozen=True)
class Karcher(Weighing):
    """The direction with the least sum of squared angles to the sets, at their mean length.

    (sum_i a_i |w_i|) m, with m on the unit sphere the minimum of sum_i a_i angle(m, w_i)^2. From the normalised mean
    direction, m <- exp_m(sum_i a_i log_m(w_i / |w_i|)) until the step is shorter than `tolerance` radians. The minimum is
    unique where all directions lie within 90 degrees of one. Sets of length 0 have no direction and count for the length
    alone; a direction within 0.01 rad of opposite to m pulls to no side. Where the directions cancel (their weighted mean
    is shorter than 1e-3) the result is sum_i a_i w_i. Breakdown point 0 in length.

    Args:
        weights: a_i before they are divided by their sum, none negative; None is 1 for each.
        iterations: the most steps. mergekit's `karcher` takes 10.
        tolerance: see above. mergekit's is 1e-5.

    Raises:
        BadParameter: weights that are negative or all 0.

    >>> from loomweight.rules import combine
    >>> sets = [{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 1.0])}]
    >>> combine(sets, Karcher(weights=(2, 1)))["w"]  # 30 degrees
    tensor([0.8660, 0.5000])
    """

    weights: tuple[float, ...] | None = None
    iterations: int = 100
    tolerance: float = 1e-8

    def __post_init__(self) -> None:
        if self.tolerance <= 0 or self.iterations < 0:
            raise BadParameter(f"{self}: tolerance must be positive and iterations not negative.")

    def check(self, n: int) -> None:
        """Raise for weights that cannot be."""
        super().check(n)
        refuse_negative(self, self.weights)

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """The factor of each set."""
        weight = shares(self.weights, len(gram))
        lengths = np.sqrt(gram.numpy().diagonal().clip(min=0))
        inverse = np.where(lengths > 0, 1 / np.where(lengths > 0, lengths, 1), 0)
        cosines = gram.numpy() * inverse * inverse[:, None]
        pull = weight * (lengths > 0)
        point = pull / pull.sum() if pull.any() else pull
        strength = _norm(cosines, point)
        if strength <= _CANCELS:
            return torch.from_numpy(weight)
        point = point / strength
        for _ in range(self.iterations):
            step = _logarithm(cosines, point, pull / pull.sum())
            angle = _norm(cosines, step)
            if angle < self.tolerance:
                break
            point = np.cos(angle) * point + np.sin(angle) / angle * step
            point = point / _norm(cosines, point)
        return torch.from_numpy(weight @ lengths * inverse * point)


def _norm(cosines: Matrix, point: Vector) -> float:
    """The length of sum_i p_i u_i."""
    return float(np.sqrt(max(point @ cosines @ point, 0)))


def _logarithm(cosines: Matrix, point: Vector, weight: Vector) -> Vector:
    """sum_i a_i log_m(u_i), as factors of the unit vectors: theta_i / sin(theta_i) (u_i - cos(theta_i) m)."""
    along = (cosines @ point).clip(-1, 1)
    theta = np.arccos(along)
    usable = (theta > 0) & (theta < np.pi - _OPPOSITE)
    pull = weight * np.where(usable, theta / np.where(usable, np.sin(theta), 1), theta <= 0)
    return pull - (pull @ along) * point


def karcher(weights: tuple[float, ...] | None = None, iterations: int = 100, tolerance: float = 1e-8) -> Rule:
    """The Karcher mean of every tensor alone.

    Args:
        weights: one a set, none negative; None is 1 for each.
        iterations: the most steps.
        tolerance: the shortest step, in radians.

    >>> karcher()
    Per(by='tensor', rule=Karcher(weights=None, iterations=100, tolerance=1e-08))
    """
    return Per("tensor", Karcher(weights, iterations, tolerance))
