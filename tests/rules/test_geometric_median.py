"""The geometric median: a minimum by an independent solver, its bound, weights, and sets that coincide."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from loomweight.errors import BadParameter
from loomweight.rules import GeometricMedian, combine

from .vectors import combined, states, times_read

PRECISE = GeometricMedian(tolerance=1e-11)


def cost(point: Tensor, rows: Tensor, weights: Tensor) -> float:
    return float(weights @ (rows.double() - point.double()).norm(dim=1))


@settings(max_examples=25, deadline=None)
@example(seed=52671, n=4, d=5)  # the median lies close to a set: a thousand steps are not enough
@given(seed=st.integers(0, 10**6), n=st.integers(1, 8), d=st.integers(4, 6))
def test_no_point_is_better_than_what_a_general_solver_finds(seed: int, n: int, d: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=generator, dtype=torch.float64)
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    ours = combined(rows, GeometricMedian(tuple(weights.tolist()), tolerance=1e-11))
    found = min((minimize(lambda p: cost(torch.from_numpy(p), rows, weights), np.asarray(row), tol=1e-10).fun for row in rows), default=0.0)
    assert cost(ours, rows, weights) <= found + 1e-7


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_pulls_of_the_sets_balance(seed: int) -> None:
    """In high dimension no set is the median; there the gradient vanishes: the unit vectors towards the sets sum to 0."""
    rows = torch.randn(6, 40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    away = rows - combined(rows, PRECISE)
    assert (away / away.norm(dim=1, keepdim=True)).sum(0).norm() < 1e-6


@pytest.mark.parametrize("size", [10.0, 1e4, 1e20])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), bad=st.integers(1, 4))
def test_less_than_half_of_bad_sets_cannot_break_it(size: float, seed: int, bad: int) -> None:
    """Within 2 (1 - A) / (1 - 2 A) r of the centre of the good sets' ball, A being the bad share (4 of 9 at most)."""
    generator = torch.Generator().manual_seed(seed)
    good = torch.randn(9 - bad, 5, generator=generator)
    radius = (good - good.mean(0)).norm(dim=1).max()
    rows = torch.cat([size * torch.randn(bad, 5, generator=generator), good])
    share = bad / 9
    result = combined(rows, GeometricMedian())
    assert (result - good.mean(0)).norm() <= 2 * (1 - share) / (1 - 2 * share) * radius * (1 + 1e-4)


def test_far_sets_pull_by_their_direction_alone() -> None:
    """So at 1e20 the result is what it is at 1e6, although float32 has lost all else there."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.cat([torch.zeros(2, 6), torch.randn(6, 6, generator=generator)])
    direction = torch.randn(2, 6, generator=generator)
    results = []
    for size in (1e6, 1e20):
        rows[:2] = size * direction
        results.append(combined(rows, PRECISE))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_weights_count_like_copies_of_a_set() -> None:
    rows = torch.randn(4, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    copies = rows[[0, 0, 0, 1, 2, 2, 3]]
    torch.testing.assert_close(combined(rows, GeometricMedian((3, 1, 2, 1), tolerance=1e-11)), combined(copies, PRECISE), rtol=0, atol=1e-8)


def test_equal_weights_are_not_one_weight() -> None:
    """Nine honest clients at 1 ... 9 and one at 999, all with as many samples: FedML 0.9.6 returns 999."""
    rows = torch.tensor([[999.0], *([float(i)] for i in range(1, 10))]).expand(-1, 4)
    assert combined(rows, GeometricMedian((100.0,) * 10)).tolist() == pytest.approx([5.5] * 4, rel=1e-5)


def test_a_set_that_is_the_median_comes_back_to_the_bit() -> None:
    corners = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [-1, -1, 0, 0]])
    rows = torch.cat([torch.full((1, 4), 0.1), corners + 0.1])
    assert torch.equal(combined(rows, GeometricMedian()), rows[0])
    assert torch.equal(combined(rows[[1, 1, 1, 2, 3]], GeometricMedian()), rows[1])


def test_smoothing_needs_no_scale() -> None:
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    torch.testing.assert_close(combined(rows * 1e-9, PRECISE), combined(rows, PRECISE) * 1e-9, rtol=1e-7, atol=0)


def test_weights_must_be_weights() -> None:
    sets = states(torch.ones(2, 4))
    for weights in [(1.0, -1.0), (0.0, 0.0), (float("nan"), 1.0)]:
        with pytest.raises(BadParameter, match="finite and not negative"):
            combine(sets, GeometricMedian(weights))
    with pytest.raises(BadParameter, match="tolerance must be positive"):
        GeometricMedian(tolerance=0)


def test_every_set_is_read_at_most_twice() -> None:
    rows = torch.randn(5, 700, generator=torch.Generator().manual_seed(0))
    assert max(times_read(states(rows), GeometricMedian())) <= 2
