"""The factorisation of prefix sums that adds least noise at a given privacy.

Papers: Multi-Epoch Matrix Factorization Mechanisms for Private Machine Learning (2022, https://arxiv.org/abs/2211.06530), section 3; (Amplified) Banded Matrix
Factorization: A unified approach to private training (2023, https://arxiv.org/abs/2306.08153), section 3, for bands and least distances.
The authors' code was read (google-research/federated at a5af8c44, jax_privacy at 8967688c). As in its primal optimiser, columns of rounds that a client may
both take part in are held orthogonal, which the authors find to be optimal for prefix sums; steps are L-BFGS within that linear space. For least distances
columns have one norm, as in theirs, and so the same sensitivity for all that a client may do; with few rounds others can be better (by a tenth for five rounds,
two apart).
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...errors import BadParameter
from .participation import Participation
from .sensitivity import sensitivity

Matrix = NDArray[np.floating]


def factorise(participation: Participation, bands: int | None = None, steps: int = 500, tolerance: float = 1e-6) -> Matrix:
    """The lower triangular C of sensitivity 1 that minimises ||A C^-1||_F^2, A the matrix of prefix sums.

    min over X = C' C of trace(A' A X^-1), with X_ij = 0 where a client may take part in both rounds i and j.

    Args:
        participation: rounds, and what one client may do in them.
        bands: diagonals that C may have, 1 is independent noise. None is all that the participation leaves.
        steps: at most.
        tolerance: ends when a step improves the error by less than this share of it.

    Raises:
        BadParameter: more bands than the distance of a client's rounds, for which no exact sensitivity is known.

    >>> C = factorise(Participation(rounds=8))  # a client may be in every round: no correlation between any two
    >>> np.allclose(C, np.eye(8) / np.sqrt(8))
    True
    >>> C = factorise(Participation(rounds=8, most=1))
    >>> bool(total_error(C) < 0.6 * total_error(np.eye(8)))
    True
    """
    n = participation.rounds
    width = bands if bands is not None else (n if participation.exact or participation.count == 1 else participation.apart)
    if width < 1 or (width > participation.apart and participation.count > 1 and not participation.exact):
        raise BadParameter(f"factorise: bands is between 1 and {participation.apart}, the least distance of a client's rounds; found {width}.")
    prefix = np.tri(n)
    target = prefix.T @ prefix
    project, start = _space(participation, width)

    def error(gram: Matrix) -> tuple[float, Matrix] | None:
        try:
            np.linalg.cholesky(gram)
        except np.linalg.LinAlgError:
            return None
        inverse = np.linalg.inv(gram)
        return float(np.sum(target * inverse)), project(-inverse @ target @ inverse)

    gram = _minimised(error, start, steps, tolerance)
    strategy = np.linalg.cholesky(gram[::-1, ::-1]).T[::-1, ::-1].copy()
    return strategy / sensitivity(strategy, participation)


def total_error(strategy: Matrix) -> float:
    """||A C^-1||_F^2: the expected squared error of all prefix sums together, of one entry and noise of deviation 1."""
    return float(np.sum(np.linalg.solve(strategy.T, np.tri(len(strategy)).T) ** 2))


def _space(participation: Participation, width: int) -> tuple[Callable[[Matrix], Matrix], Matrix]:
    """The projection onto steps that keep the sensitivity, and where to start."""
    n, b = participation.rounds, participation.apart
    rounds = np.arange(n)
    begun = _root(n, min(width, b) if participation.count > 1 else width)
    distance = np.abs(np.subtract.outer(rounds, rounds))
    mask = (distance < width) & (distance > 0)
    if not participation.exact:
        return lambda step: step * mask, begun / participation.count
    mask &= distance % b > 0
    sizes = np.bincount(rounds % b, minlength=b)

    def project(step: Matrix) -> Matrix:
        diagonal = np.diag(step)
        means = np.bincount(rounds % b, diagonal, b) / sizes
        return step * mask + np.diag(diagonal - means[rounds % b])

    return project, begun / np.sqrt(np.outer(sizes[rounds % b], sizes[rounds % b]))


def _root(n: int, width: int) -> Matrix:
    """X of the first diagonals of the square root of the prefix sums, with columns of norm 1: near the optimum already."""
    coefficients = np.cumprod(np.concatenate([[1.0], 1 - 0.5 / np.arange(1, width)])) if width > 1 else np.ones(1)
    root = np.sum([np.diag(np.full(n - i, value), -i) for i, value in enumerate(coefficients)], axis=0)
    root = root / np.linalg.norm(root, axis=0)
    return root.T @ root


def _minimised(error: Callable[[Matrix], tuple[float, Matrix] | None], at: Matrix, steps: int, tolerance: float) -> Matrix:
    """L-BFGS with halved steps; where the matrix is not positive definite the error is infinite."""
    pairs: deque[tuple[Matrix, Matrix]] = deque(maxlen=10)
    value, slope = error(at) or (np.inf, at)
    for _ in range(steps):
        direction = -_curved(slope, pairs)
        size = 1.0 if pairs else min(1.0, 0.1 * np.abs(at).max() / max(np.abs(slope).max(), 1e-300))
        found = _along(error, at, direction, (value, float(np.sum(slope * direction)), size))
        if found is None:
            break
        moved, lower, steeper = found
        if np.sum((moved - at) * (steeper - slope)) > 0:
            pairs.append((moved - at, steeper - slope))
        better = value - lower
        at, value, slope = moved, lower, steeper
        if better < tolerance * value:
            break
    return at


def _along(
    error: Callable[[Matrix], tuple[float, Matrix] | None], at: Matrix, direction: Matrix, begun: tuple[float, float, float]
) -> tuple[Matrix, float, Matrix] | None:
    value, descent, size = begun
    for _ in range(40):
        found = error(at + size * direction)
        if found is not None and found[0] <= value + 1e-4 * size * descent:
            return at + size * direction, *found
        size /= 2
    return None


def _curved(slope: Matrix, pairs: deque[tuple[Matrix, Matrix]]) -> Matrix:
    """The slope times the inverse curvature that the last steps showed."""
    found, factors = slope, []
    for step, change in reversed(pairs):
        factor = np.sum(step * found) / np.sum(step * change)
        found = found - factor * change
        factors.append(factor)
    if pairs:
        step, change = pairs[-1]
        found = found * (np.sum(step * change) / np.sum(change * change))
    for (step, change), factor in zip(pairs, reversed(factors), strict=True):
        found = found + step * (factor - np.sum(change * found) / np.sum(step * change))
    return found
