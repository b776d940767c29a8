"""Means of nearest neighbours on explicit vectors, as a rule and as a step before another."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight.errors import BadParameter, TooFewSets
from loomweight.rules import GeometricMedian, Krum, Mean, MultiKrum, NearestNeighbourMean, NearestNeighbourMixing, Per, Rule, combine

from .vectors import combined, states, times_read


def mixed(rows: Tensor, f: int) -> Tensor:
    """Every row replaced by the mean of the n - f rows nearest to it."""
    order = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").argsort(dim=1, stable=True)
    return torch.stack([rows[near[: len(rows) - f]].mean(0) for near in order])


@pytest.mark.parametrize("rule", [GeometricMedian(), MultiKrum(1, m=3), Mean(), Mean(weights=(1, 2, 3, 4, 5, 6, 7))], ids=repr)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_mixing_first_is_the_rule_of_mixed_sets(rule: Rule, seed: int) -> None:
    rows = torch.randn(7, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    got = combined(rows, NearestNeighbourMixing(rule, f=2))
    torch.testing.assert_close(got, combined(mixed(rows, 2), rule), rtol=1e-5, atol=1e-6)


def test_krum_of_mixed_sets_is_a_mixed_set() -> None:
    rows = torch.randn(7, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    got = combined(rows, NearestNeighbourMixing(Krum(1), f=1))
    assert (mixed(rows, 1) - got).norm(dim=1).min() < 1e-6


def test_byzfls_own_example() -> None:
    """The documentation of byzfl 69bd1ac: NNM(1) of three rows, here seen through the mean and through one place."""
    rows = torch.tensor([[1.0, 2, 3, 0], [4, 5, 6, 0], [7, 8, 9, 0]])
    torch.testing.assert_close(mixed(rows, 1)[:, :3], torch.tensor([[2.5, 3.5, 4.5], [2.5, 3.5, 4.5], [5.5, 6.5, 7.5]]))
    torch.testing.assert_close(combined(rows, NearestNeighbourMixing(Mean(), f=1))[:3], torch.tensor([3.5, 4.5, 5.5]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(-1, 20), f=st.integers(1, 4))
def test_bad_sets_leave_it_within_the_good_sets_diameter_of_the_trusted_one(seed: int, size: float, f: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    good = torch.randn(6, 5, generator=generator)
    rows = torch.cat([good, 10**size * torch.randn(f, 5, generator=generator)])
    result = combined(rows, NearestNeighbourMean(f, trusted=2))
    assert (result - good[2]).norm() <= torch.cdist(good, good).max() * (1 + 1e-5)


@pytest.mark.parametrize("rule", [GeometricMedian(), MultiKrum(2)], ids=repr)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(2, 20))
def test_mixing_keeps_far_sets_out_of_the_good_ones(rule: Rule, seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    good = torch.randn(6, 5, generator=generator)
    rows = torch.cat([10**size * torch.randn(2, 5, generator=generator), good])
    result = combined(rows, NearestNeighbourMixing(rule, f=2))
    assert (result - good.mean(0)).norm() <= torch.cdist(good, good).max()


def test_the_trusted_set_keeps_its_role_when_others_are_dropped() -> None:
    rows = torch.tensor([[9.0], [1.0], [2.0], [7.0]]).repeat(1, 4)
    rows[0, 0] = float("nan")
    kept = combine(states(rows), NearestNeighbourMean(f=2, trusted=1), nonfinite="drop")
    assert kept["a.weight"].tolist() == [1.5] * 3
    with pytest.raises(BadParameter, match="the trusted set 0 is the one that would be dropped"):
        combine(states(rows), NearestNeighbourMean(f=1, trusted=0), nonfinite="drop")


def test_bounds() -> None:
    with pytest.raises(TooFewSets, match="n > 2 f: give at least 5 sets"):
        NearestNeighbourMixing(Mean(), f=2).check(4)
    with pytest.raises(TooFewSets, match="n > f: give at least 4 sets"):
        NearestNeighbourMean(f=3).check(3)
    with pytest.raises(BadParameter, match=r"trusted must lie in \[0, 2\]"):
        NearestNeighbourMean(trusted=3).check(3)
    with pytest.raises(BadParameter, match="Per is neither a weighing nor a pointwise rule"):
        NearestNeighbourMixing(Per("tensor", Mean()), f=0).check(3)


@pytest.mark.parametrize("rule", [GeometricMedian(), Mean()], ids=repr)
def test_every_set_is_read_at_most_twice(rule: Rule) -> None:
    rows = torch.randn(5, 700, generator=torch.Generator().manual_seed(0))
    assert max(times_read(states(rows), NearestNeighbourMixing(rule, f=1))) <= 2
