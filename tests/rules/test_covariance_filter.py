"""The covariance filter against explicit covariance matrices, and what bad sets can do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.errors import TooFewSets
from loomweight.rules import CovarianceFilter, combine

from .vectors import combined, states, times_read


def by_definition(rows: np.ndarray, f: int) -> np.ndarray:
    """d x d covariance matrices."""
    weight, least, best = np.ones(len(rows)), np.inf, rows.mean(0)
    while weight.sum() > len(rows) - 2 * f:
        mean = weight @ rows / weight.sum()
        away = rows - mean
        values, vectors = np.linalg.eigh((weight[:, None] * away).T @ away / weight.sum())
        if values[-1] < least:
            least, best = values[-1], mean
        along = np.where(weight > 0, (away @ vectors[:, -1]) ** 2, 0)
        weight = weight * (1 - along / along.max())
    return best


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), f=st.integers(1, 4), more=st.integers(1, 5))
def test_it_is_the_papers_algorithm(seed: int, f: int, more: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((2 * f + more, 5))
    rows[:f] += 3
    # eigenvectors of n x n and d x d matrices agree to rounding, times the gaps of eigenvalues
    np.testing.assert_allclose(combined(torch.from_numpy(rows), CovarianceFilter(f)).numpy(), by_definition(rows, f), rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(0, 25), together=st.booleans())
def test_f_far_sets_do_not_move_it_beyond_the_good_sets(seed: int, size: float, together: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    good = torch.randn(9, 6, generator=generator)
    hostile = 10**size * torch.randn(3, 6, generator=generator)
    hostile = hostile[:1].expand_as(hostile) if together else hostile
    result = combined(torch.cat([hostile, good]), CovarianceFilter(3))
    assert (good.mean(0) - result).norm() <= 2 * (good - good.mean(0)).norm(dim=1).max()


def test_two_calls_give_the_same_bits() -> None:
    rows = torch.randn(9, 40, generator=torch.Generator().manual_seed(2))
    assert torch.equal(combined(rows, CovarianceFilter(2)), combined(rows, CovarianceFilter(2)))


def test_nan_bound_and_passes() -> None:
    rows = torch.randn(6, 700, generator=torch.Generator().manual_seed(0))
    assert max(times_read(states(rows), CovarianceFilter(1))) <= 2
    rows[1, 4] = float("nan")
    kept = combine(states(rows), CovarianceFilter(2), nonfinite="drop")
    without = combine(states(rows[[0, 2, 3, 4, 5]]), CovarianceFilter(1))
    assert all(torch.equal(kept[name], without[name]) for name in kept)
    with pytest.raises(TooFewSets, match="n > 2 f: give at least 5 sets"):
        CovarianceFilter(2).check(4)
