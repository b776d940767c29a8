"""Centered clipping against the formula on explicit vectors, and how far one set can move it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight import Weights
from loomweight.errors import BadParameter
from loomweight.rules import Around, CenteredClip

from .vectors import combined, states


def by_hand(rows: Tensor, start: Tensor, tau: float, steps: int, weights: Tensor) -> Tensor:
    """The paper's loop on vectors."""
    point = start
    for _ in range(steps):
        away = rows - point
        point = point + weights @ (away * (tau / away.norm(dim=1, keepdim=True)).clamp(max=1))
    return point


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 7), tau=st.floats(0.1, 10), steps=st.integers(1, 4))
def test_it_is_the_papers_loop_from_zero_and_around_a_centre(seed: int, n: int, tau: float, steps: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows, centre = torch.randn(n, 8, generator=generator, dtype=torch.float64), torch.randn(8, generator=generator, dtype=torch.float64)
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    rule = CenteredClip(tau, steps, weights=tuple(weights.tolist()))
    weights = weights / weights.sum()
    torch.testing.assert_close(combined(rows, rule), by_hand(rows, torch.zeros(8, dtype=torch.float64), tau, steps, weights), rtol=1e-6, atol=1e-7)
    around = combined(rows, Around(Weights.of(states(centre[None])[0]), rule))
    torch.testing.assert_close(around, by_hand(rows, centre, tau, steps, weights), rtol=1e-6, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(0, 20), steps=st.integers(1, 3))
def test_a_set_moves_a_step_by_at_most_its_share_of_tau(seed: int, size: float, steps: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(6, 8, generator=generator)
    there = rows.clone()
    there[0] = 10**size * torch.randn(8, generator=generator)
    one, other = (combined(r, CenteredClip(tau=0.5)) for r in (rows, there))
    assert (one - other).norm() <= 2 * 0.5 / 6 * (1 + 1e-5)
    assert combined(there, CenteredClip(tau=0.5, iterations=steps)).norm() <= steps * 0.5 * (1 + 1e-5)


@pytest.mark.parametrize("size", [1e3, 1e10, 1e20])
def test_without_tau_it_stays_near_the_good_majority(size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    good = 5 + torch.randn(5, 8, generator=generator)
    rows = torch.cat([size * torch.randn(4, 8, generator=generator), good])
    result = combined(rows, CenteredClip(start="core", iterations=5))
    assert (result - good.mean(0)).norm() < 2 * (good - good.mean(0)).norm(dim=1).max()


def test_parameters() -> None:
    for bad in ({"tau": 0.0}, {"tau": float("nan")}, {"iterations": 0}):
        with pytest.raises(BadParameter, match="tau must be positive and iterations at least 1"):
            CenteredClip(**bad)
