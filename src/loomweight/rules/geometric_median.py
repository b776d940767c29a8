"""The geometric median: the point with the least sum of distances to the sets.

Paper: Robust Aggregation for Federated Learning (2019, https://arxiv.org/abs/1912.13445), algorithm 2 (smoothed Weiszfeld).
Original code: https://github.com/krishnap25/RFA at 40945d2.
We differ: it runs to convergence on the Gram matrix, so the data is read twice whatever the number of steps; it starts from
the best of the sets and steps off it as Vardi and Zhang do (https://doi.org/10.1073/pnas.97.4.1423), so it neither
sticks to a set nor needs a smoothing that depends on the scale.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float64
from .geometry import Matrix, Vector, centred_on, core, distances_to, refuse_negative, shares, squared_distances
from .rule import Weighing

_AT = 1e-9  # distances below this part of the sets' own spread count as none
_TIE = 1e-6  # mean distances that differ by less than this part of it are equal: float32 tells no more


@dataclass(frozen=True)
class GeometricMedian(Weighing):
    """The point with the least sum of distances to the sets.

    argmin_v sum_i a_i |v - w_i|, to `tolerance` of the sets' spread. Each step is v <- sum_i b_i w_i / sum_i b_i with b_i =
    a_i / |v - w_i|. A set that is itself the minimum is returned as it is; where a whole segment is (an even number of sets
    on one line), its middle.

    Bound: bad sets with a share A < 1/2 of the weight, wherever they lie, leave the result within 2 (1 - A) / (1 - 2 A) r of
    the centre of any ball of radius r that holds the good sets. Breakdown point 1/2 of the weight.

    Args:
        weights: a_i (sample counts), none negative; None is 1 for each.
        tolerance: stop when a step is shorter than this part of the distance from the best set to most others.
        iterations: the most steps; thousands are needed where the median lies close to a set, beside it.

    Raises:
        BadParameter: weights that are negative or all 0.

    >>> from loomweight.rules import combine
    >>> sets = [{"w": torch.tensor(p)} for p in ([0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0])]
    >>> combine(sets, GeometricMedian())["w"]
    tensor([1., 1.])
    >>> combine(sets, GeometricMedian(weights=(9, 1, 1, 1)))["w"]
    tensor([0., 0.])
    """

    weights: tuple[float, ...] | None = None
    tolerance: float = 1e-6
    iterations: int = 10_000

    def __post_init__(self) -> None:
        if self.tolerance <= 0 or self.iterations < 1:
            raise BadParameter(f"{self}: tolerance must be positive and iterations at least 1.")

    def check(self, n: int) -> None:
        """Raise for weights that cannot be."""
        super().check(n)
        refuse_negative(self, self.weights)

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """The share of each set in the median; they sum to 1."""
        weight = shares(self.weights, len(gram))
        distances = squared_distances(gram.numpy())
        central, spread = core(distances, weight)
        centred = centred_on(gram.numpy(), int(central.argmax()))
        point, there = _stepped_off(centred, distances, weight, spread)
        for _ in range(0 if there else self.iterations):
            pull = weight / np.maximum(distances_to(centred, point), _AT * spread)
            before, point = point, pull / pull.sum()
            move = point - before
            if move @ centred @ move <= (self.tolerance * spread) ** 2:
                break
        return torch.from_numpy(point)


def _stepped_off(centred: Matrix, distances: Matrix, weight: Vector, spread: float) -> tuple[Vector, bool]:
    """A point better than every set, as shares; or the best set, and True, where it is the median itself."""
    apart = np.sqrt(distances)
    above = _above_the_centre(centred, apart, weight)
    best = int(above.argmin())
    at = np.zeros(len(weight))
    at[best] = 1
    away = apart[best] > _AT * spread
    equal = above <= above[best] + _TIE * spread
    if not away.any():
        return at, True
    if (equal & away).any():
        return equal / equal.sum(), False
    pull = np.where(away, weight / np.where(away, apart[best], 1), 0)
    force = pull - pull.sum() * at
    strength, held = float(np.sqrt(max(force @ centred @ force, 0))), float(weight[~away].sum())
    if strength <= held:
        return at, True
    return at + (1 - held / strength) * force / pull.sum(), False


def _above_the_centre(centred: Matrix, apart: Matrix, weight: Vector) -> Vector:
    """For each set, how far its sum of distances exceeds that of the centre: |i - j| - |c - j| without cancellation."""
    lengths = centred.diagonal()
    both = apart + np.sqrt(np.maximum(lengths, 0))
    excess = lengths[:, None] - 2 * centred
    return np.where(both > 0, excess / np.where(both > 0, both, 1), 0) @ weight
