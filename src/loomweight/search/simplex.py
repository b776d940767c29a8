"""Weights that are at least 0 and sum to 1: grids for sweeps, and a map that lets any sampler search them.

Paper: Rewarded soups: towards Pareto-optimal alignment by interpolating weights fine-tuned on diverse rewards (2023,
https://arxiv.org/abs/2306.04488), section 2.2: N models, every lambda of the simplex is one user's preference; the paper
sweeps lambda over {0, 0.1, ..., 1} for two models, which is `simplex_grid(2, 10)`.
"""

from collections.abc import Iterator, Sequence
from math import log

from ..errors import BadParameter


def simplex_grid(n: int, steps: int) -> Iterator[tuple[float, ...]]:
    """All weights of n models that are multiples of 1/steps and sum to 1; there are C(steps + n - 1, n - 1) of them.

    The order is lexicographic, from (1, 0, ...) down to (..., 0, 1).

    Part of: study.

    Raises:
        BadParameter: n or steps is below 1.

    >>> list(simplex_grid(2, 4))
    [(1.0, 0.0), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.0, 1.0)]
    """
    if n < 1 or steps < 1:
        raise BadParameter(f"a grid on the simplex needs at least 1 model and 1 step, found n = {n}, steps = {steps}.")
    return (tuple(share / steps for share in shares) for shares in _shares(n, steps))


def _shares(n: int, steps: int) -> Iterator[tuple[int, ...]]:
    """All ways to deal `steps` among n, the first one's largest share first."""
    if n == 1:
        yield (steps,)
        return
    for first in range(steps, -1, -1):
        yield from ((first, *rest) for rest in _shares(n - 1, steps - first))


def on_simplex(numbers: Sequence[float]) -> tuple[float, ...]:
    """Map n numbers of (0, 1) onto the simplex: w_i = ln u_i / sum_j ln u_j.

    Uniform numbers give uniform points (Dirichlet of ones), so a random search over `Float(0, 1)` for each model is fair to
    every mixture; plain normalizing u_i / sum_j u_j would crowd the centre. A larger u_i means a smaller weight.

    Part of: study.

    Raises:
        BadParameter: there is no number, or one is outside [0, 1].

    >>> on_simplex([0.5, 0.5])
    (0.5, 0.5)
    """
    if not numbers or not all(0 <= number <= 1 for number in numbers):
        raise BadParameter(f"on_simplex maps numbers from 0 to 1, found {list(numbers)}.")
    sizes = [-log(min(max(number, 1e-300), 1 - 1e-16)) for number in numbers]
    total = sum(sizes)
    return tuple(size / total for size in sizes)
