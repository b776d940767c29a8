"""Multi-SLERP and the Karcher mean: against the source's longer formula, and against the definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight import Weights
from loomweight.errors import BadParameter
from loomweight.rules import Karcher, MultiSlerp, karcher, multislerp

from .vectors import combined, states, times_read


def cone(seed: int, n: int, spread: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (1 + torch.rand(n, 1, generator=generator)) * (torch.randn(9, generator=generator) + spread * torch.randn(n, 9, generator=generator)).double()


def along_the_tangent(rows: Tensor, weights: Tensor) -> Tensor:
    """Multi-SLERP as its source has it: from the normalised mean along the weighted tangents, by the exponential map."""
    lengths = rows.norm(dim=1)
    units = rows / lengths[:, None]
    mean = weights @ units
    mean = mean / mean.norm()
    tangent = weights @ (units - (units @ mean)[:, None] * mean)
    size = tangent.norm() + 1e-12
    return (mean * torch.cos(size) + tangent * torch.sin(size) / size) * (weights @ lengths)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), spread=st.sampled_from([0.01, 0.5, 2.0]))
def test_multislerp_needs_no_tangent(seed: int, n: int, spread: float) -> None:
    rows = cone(seed, n, spread)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    plain = combined(rows, MultiSlerp(tuple(weights.tolist()), normalize=False))
    torch.testing.assert_close(plain, along_the_tangent(rows, weights), rtol=1e-5, atol=1e-6)
    normalised = combined(rows, MultiSlerp(tuple(weights.tolist())))
    torch.testing.assert_close(normalised, along_the_tangent(rows, weights / weights.sum()), rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), spread=st.sampled_from([0.01, 0.3, 0.6]))
def test_at_the_karcher_mean_the_logarithms_cancel(seed: int, n: int, spread: float) -> None:
    rows = cone(seed, n, spread)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    weights = weights / weights.sum()
    out = combined(rows, Karcher(tuple(weights.tolist())))
    units, mean = rows / rows.norm(dim=1, keepdim=True), out / out.norm()
    across = units - (units @ mean)[:, None] * mean
    theta = torch.atan2(across.norm(dim=1), units @ mean)
    logarithms = torch.where(theta > 1e-9, theta / across.norm(dim=1).clamp(min=1e-30), 1.0)[:, None] * across
    assert float((weights @ logarithms).norm()) < 1e-5 * max(float(theta.max()), 1e-3)
    assert float(out.norm()) == pytest.approx(float(weights @ rows.norm(dim=1)), rel=1e-6)


def test_sets_without_a_direction_count_for_the_length_alone() -> None:
    rows = torch.tensor([[3.0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0]])
    expected = torch.tensor([2**0.5, 2**0.5, 0, 0])
    torch.testing.assert_close(combined(rows, Karcher()), expected)
    torch.testing.assert_close(combined(rows, MultiSlerp()), expected)
    zeros = torch.zeros(3, 4)
    assert torch.equal(combined(zeros, Karcher()), zeros[0])
    assert torch.equal(combined(zeros, MultiSlerp()), zeros[0])


def test_a_direction_opposite_to_the_mean_does_not_turn_it() -> None:
    rows = torch.tensor([[1.0, 0, 0, 0], [2, 0, 0, 0], [-3, 0, 0, 0]])
    for rule in (Karcher(), MultiSlerp()):
        torch.testing.assert_close(combined(rows, rule), torch.tensor([2.0, 0, 0, 0]))


def test_around_a_base() -> None:
    base, rows = torch.full((4,), 5.0), torch.tensor([[6.0, 5, 5, 5], [5, 6, 5, 5]])
    out = combined(rows, multislerp(base=Weights.of(states(base[None])[0])))
    torch.testing.assert_close(out, torch.tensor([5 + 0.5**0.5, 5 + 0.5**0.5, 5, 5]))


def test_weights_must_be_weights() -> None:
    with pytest.raises(BadParameter, match="sum to 0, so they cannot be normalized"):
        MultiSlerp((1.0, -1.0)).check(2)
    with pytest.raises(BadParameter, match="finite and not negative"):
        Karcher((1.0, -2.0)).check(2)


def test_every_set_is_read_at_most_twice() -> None:
    rows = torch.randn(4, 900, generator=torch.Generator().manual_seed(0))
    assert times_read(states(rows), karcher()) == [2] * 4
    assert times_read(states(rows), multislerp()) == [2] * 4
