"""Weights that sum to 1."""

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.search import on_simplex, simplex_grid


@pytest.mark.parametrize(("n", "steps"), [(1, 3), (2, 10), (3, 4), (4, 3)])
def test_the_grid_is_all_multiples_that_sum_to_one(n: int, steps: int) -> None:
    grid = list(simplex_grid(n, steps))
    every = {tuple(k / steps for k in row) for row in product(range(steps + 1), repeat=n) if sum(row) == steps}
    assert set(grid) == every
    assert len(grid) == comb(steps + n - 1, n - 1)
    assert grid == sorted(grid, reverse=True)


def test_bad_grids_are_refused_before_they_are_walked() -> None:
    with pytest.raises(BadParameter, match="n = 0"):
        simplex_grid(0, 3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_numbers_land_on_the_simplex(numbers: list[float]) -> None:
    weights = on_simplex(numbers)
    assert all(weight >= 0 for weight in weights)
    assert sum(weights) == pytest.approx(1, abs=1e-12)


def test_uniform_numbers_give_uniform_points() -> None:
    """The marginal of a uniform point of the simplex of n is P(w > t) = (1 - t)^(n - 1); plain normalizing misses it."""
    n, draws = 3, np.random.default_rng(0).random((20_000, 3))
    first = np.array([on_simplex(row.tolist())[0] for row in draws])
    plain = draws[:, 0] / draws.sum(1)
    for t in (0.1, 0.5, 0.9):
        truth = (1 - t) ** (n - 1)
        assert abs((first > t).mean() - truth) < 4 * (truth * (1 - truth) / len(draws)) ** 0.5
    assert abs((plain > 0.9).mean() - 0.01) > 0.005  # the twin: this test can fail


def test_numbers_outside_are_refused() -> None:
    with pytest.raises(BadParameter, match=r"found \[0.5, 1.5\]"):
        on_simplex([0.5, 1.5])
    with pytest.raises(BadParameter):
        on_simplex([])
