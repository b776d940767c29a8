"""Bucketing: the rule of explicit bucket means, the draw, and what f means behind it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.errors import BadParameter, TooFewSets
from loomweight.rules import Bucketing, GeometricMedian, Krum, Mean, Median, MultiKrum, NearestNeighbourMixing, Rule, TrimmedMean, combine
from loomweight.rules.sets import Sets
from loomweight.weights import Weights

from .vectors import combined, states, times_read


def buckets(rows: torch.Tensor, rule: Bucketing) -> torch.Tensor:
    """The means of the buckets, from the matrix alone."""
    return rule.matrix(Sets(tuple(map(Weights.of, states(rows)))), lambda: torch.empty(0, 0)) @ rows


@pytest.mark.parametrize("rule", [GeometricMedian(), MultiKrum(1), Median(), TrimmedMean(1)], ids=repr)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(9, 12))
def test_it_is_the_rule_of_bucket_means(rule: Rule, seed: int, n: int) -> None:
    rows = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    wrapped = Bucketing(rule, size=2, seed=seed)
    # float64 sums in another order
    torch.testing.assert_close(combined(rows, wrapped), combined(buckets(rows, wrapped), rule), rtol=1e-6, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 20), size=st.integers(1, 6))
def test_every_set_is_in_one_bucket(seed: int, n: int, size: int) -> None:
    rule = Bucketing(Mean(), size=size, seed=seed)
    members = buckets(torch.eye(n, dtype=torch.float64).repeat(1, 4)[:, : max(n, 4)], rule) > 0
    counts = members[:, :n].sum(1).tolist()
    assert members[:, :n].sum(0).tolist() == [1] * n
    assert counts[:-1] == [size] * (len(counts) - 1) and counts[-1] == (n - 1) % size + 1


def test_another_seed_is_another_draw_and_the_same_seed_the_same() -> None:
    rows = torch.randn(10, 8, generator=torch.Generator().manual_seed(0))
    results = [combined(rows, Bucketing(Median(), size=2, seed=seed)) for seed in (0, 0, 1, 2)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2]) and not torch.equal(results[2], results[3])


def test_size_1_is_the_rule() -> None:
    rows = torch.randn(7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for rule in (Median(), Krum(1)):
        # a mean of one set, in float64
        torch.testing.assert_close(combined(rows, Bucketing(rule, size=1)), combined(rows, rule), rtol=1e-12, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(0, 20))
def test_f_bad_sets_spoil_at_most_f_buckets(seed: int, size: float) -> None:
    """So the trimmed mean of 5 buckets bears 2 bad sets of 10, in whatever buckets they are."""
    generator = torch.Generator().manual_seed(seed)
    good = torch.randn(8, 6, generator=generator)
    rows = torch.cat([10**size * torch.randn(2, 6, generator=generator), good])
    result = combined(rows, Bucketing(TrimmedMean(2), size=2, seed=seed))
    assert (result >= good.amin(0) - 1e-5).all() and (result <= good.amax(0) + 1e-5).all()


def test_what_f_means_is_said() -> None:
    Bucketing(TrimmedMean(2), size=2).check(9)
    with pytest.raises(TooFewSets, match=r"needs at least 5 weight sets \(2 f \+ 1\), got 4"):
        Bucketing(TrimmedMean(2), size=2).check(8)
    with pytest.raises(BadParameter, match="size must be at least 1"):
        Bucketing(Median(), size=0).check(4)
    with pytest.raises(BadParameter, match="the rule cannot have weights"):
        Bucketing(Median(weights=(1, 2)), size=2).check(4)
    with pytest.raises(BadParameter, match="neither a weighing nor a pointwise rule"):
        Bucketing(NearestNeighbourMixing(Median(), f=1), size=2).check(10)


def test_dropped_sets_count_against_the_rules_f() -> None:
    rows = torch.randn(10, 8, generator=torch.Generator().manual_seed(0))
    rows[3, 0] = float("nan")
    kept = combine(states(rows), Bucketing(TrimmedMean(2), size=2), nonfinite="drop")
    rest = rows[[i for i in range(10) if i != 3]]
    assert all(torch.equal(kept[name], combine(states(rest), Bucketing(TrimmedMean(1), size=2))[name]) for name in kept)


def test_a_pointwise_rule_reads_every_set_once() -> None:
    rows = torch.randn(6, 700, generator=torch.Generator().manual_seed(0))
    assert max(times_read(states(rows), Bucketing(Median(), size=2))) == 1
    assert max(times_read(states(rows), Bucketing(MultiKrum(), size=2))) <= 2
