"""Inverse distance aggregation: the formula, and that it is no defence."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.rules import InverseDistance

from .vectors import combined


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 7))
def test_coefficients_are_inverse_to_the_distance_from_the_mean(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    counts = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    mean = counts / counts.sum() @ rows
    share = counts / (rows - mean).norm(dim=1)
    torch.testing.assert_close(combined(rows, InverseDistance(tuple(counts.tolist()))), share / share.sum() @ rows, rtol=1e-5, atol=1e-6)


def test_an_outlier_counts_less_than_in_the_mean_but_without_bound() -> None:
    """About 1 / (n - 1)^2 of it remains, however far it is."""
    good = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    for size in (1e3, 1e6):
        rows = torch.cat([good, torch.full((1, 6), size)])
        moved = (combined(rows, InverseDistance()) / size).mean()
        assert 1 / 35 < moved < 1 / 20
        assert moved < rows.mean() / size


def test_weights_must_be_weights() -> None:
    with pytest.raises(BadParameter, match="finite and not negative"):
        InverseDistance((1.0, -2.0)).check(2)
