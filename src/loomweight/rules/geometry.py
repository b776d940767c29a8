"""What a Gram matrix tells: distances, weights as shares, points of the span, and bounds on the number of bad sets."""

from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParameter, TooFewSets

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

_NOISE = 32 * np.finfo(np.float64).eps


def squared_distances(gram: Matrix) -> Matrix:
    """|w_i - w_j|^2, symmetric to the last bit; 0 where float64 sees no difference."""
    lengths = gram.diagonal()
    both = lengths[:, None] + lengths
    distances = both - 2 * gram
    distances = (distances + distances.T) / 2
    return np.where(distances > _NOISE * both, distances, 0)


def shares(weights: Sequence[float] | None, n: int) -> Vector:
    """Weights that sum to 1; equal ones for None."""
    given = np.asarray(weights if weights is not None else np.ones(n), dtype=np.float64)
    return given / given.sum()


def refuse_negative(rule: object, weights: Sequence[float] | None) -> None:
    """Raise unless all weights are finite, none is negative, and one is positive."""
    if weights is not None and (not all(isfinite(w) and w >= 0 for w in weights) or sum(weights) <= 0):
        raise BadParameter(f"{rule}: weights must be finite and not negative, and not all 0.")


def tolerates(rule: object, n: int, f: int, fewest: int, bound: str) -> None:
    """Raise unless `n` sets are enough to bear `f` bad ones."""
    if f < 0:
        raise BadParameter(f"{rule}: f counts bad sets, so it must not be negative, found {f}.")
    if n < fewest:
        raise TooFewSets(f"{rule} bears {f} bad sets only among {bound}: give at least {fewest} sets or lower f; got {n} sets.")


def core(distances: Matrix, weight: Vector) -> tuple[Vector, float]:
    """The set nearest to more than half of the weight, as shares (several that are equally near share alike), and how near.

    While bad sets hold less than half of the weight, no such set is farther from the good sets than these are from each other.
    """
    order = np.argsort(distances, axis=1, kind="stable")
    inside = np.cumsum(weight[order], axis=1)
    half = (inside <= 0.5 * (1 + 1e-12)).sum(1).clip(max=len(weight) - 1)
    radii = np.take_along_axis(distances, np.take_along_axis(order, half[:, None], 1), 1)[:, 0]
    nearest = radii <= radii.min() * (1 + 1e-9)
    return nearest / nearest.sum(), float(np.sqrt(radii.min()))


def centred_on(gram: Matrix, centre: int) -> Matrix:
    """<w_i - w_c, w_j - w_c>: no entry suffers from how far other sets are away."""
    moved = gram - gram[centre, :] - gram[:, centre, None] + gram[centre, centre]
    moved[centre, :] = moved[:, centre] = 0
    return (moved + moved.T) / 2


def distances_to(centred: Matrix, point: Vector) -> Vector:
    """|w_i - v| for v = sum_i p_i w_i, sum_i p_i = 1, from a centred Gram matrix."""
    along = centred @ point
    return np.sqrt(np.maximum(centred.diagonal() - 2 * along + point @ along, 0))
