"""Gradient splitting: scores on explicit vectors, balanced parts, what f bad sets can do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight.errors import BadParameter, TooFewSets
from loomweight.rules import GeometricMedian, GradientSplitting, Median, MultiKrum, NearestNeighbourMixing, Rule, TrimmedMean, combine
from loomweight.rules.sets import Sets
from loomweight.weights import Weights

from .vectors import combined, states, times_read


def scores(rows: Tensor, rule: GradientSplitting) -> Tensor:
    return torch.from_numpy(rule.scores(Sets(tuple(map(Weights.of, states(rows))))))


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(1), GeometricMedian(), MultiKrum(1)], ids=repr)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_one_part_judges_by_the_distance_of_the_whole(rule: Rule, seed: int) -> None:
    rows = torch.randn(7, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = (rows - combined(rows, rule)).norm(dim=1)
    # distances from a Gram matrix, in float64, against differences
    torch.testing.assert_close(scores(rows, GradientSplitting(rule, parts=1, f=1)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", [Median(), GeometricMedian(tolerance=1e-9)], ids=repr)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_as_many_parts_as_entries_sum_absolute_differences(rule: Rule, seed: int) -> None:
    """Whatever the draw. The 9 entries lie in tensors of 3 and 6, so 6 parts hold one entry of the second and one or none of the first."""
    rows = torch.randn(5, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows[:, :3] = 1.0
    alone = torch.stack([combine([{"w": row[i : i + 1]} for row in rows], rule)["w"] for i in range(9)]).T
    # a geometric median on a line, to its tolerance
    torch.testing.assert_close(scores(rows, GradientSplitting(rule, parts=6, f=1, seed=seed)), (rows - alone).abs().sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", [Median(), GeometricMedian()], ids=repr)
@settings(max_examples=20, deadline=None)
@given(entries=st.integers(4, 50), parts=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_parts_are_alike_in_size_and_hold_every_entry_once(rule: Rule, entries: int, parts: int, seed: int) -> None:
    """Three sets, of which one is 1 everywhere and two are 0: its score is the sum of the roots of the parts' sizes."""
    rows = torch.zeros(3, entries, dtype=torch.float64)
    rows[2] = 1
    sets = Sets(tuple(Weights.of({"w": row}) for row in rows))
    sizes = [entries // parts + (i < entries % parts) for i in range(parts)]
    found = GradientSplitting(rule, parts=parts, f=1, seed=seed).scores(sets)
    assert found[:2].tolist() == [0, 0] and found[2] == pytest.approx(sum(size**0.5 for size in sizes))  # to rounding


def test_the_lowest_scores_are_averaged() -> None:
    rows = torch.randn(8, 40, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rule = GradientSplitting(Median(), parts=5, f=3, seed=1)
    kept = scores(rows, rule).argsort()[:5]
    # the same five sets, summed in another order
    torch.testing.assert_close(combined(rows, rule), rows[kept].mean(0), rtol=1e-9, atol=1e-9)


def test_parts_find_what_the_whole_hides() -> None:
    """Good sets differ widely in a few entries each, a bad one a little in all: as one vector it is the nearest to the median."""
    generator = torch.Generator().manual_seed(0)
    rows = 0.1 * torch.randn(9, 400, generator=generator)
    for i in range(8):
        rows[i, 40 * i : 40 * i + 4] += 20.0
    rows[8] += 1.5
    whole, parts = (scores(rows, GradientSplitting(Median(), parts=count, f=1)) for count in (1, 100))
    assert int(whole.argmin()) == 8 and int(parts.argmax()) == 8


@pytest.mark.parametrize("rule", [Median(), TrimmedMean(2), GeometricMedian()], ids=repr)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(0, 20))
def test_f_bad_sets_move_it_no_farther_than_the_worst_good_set_lies(rule: Rule, seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    good = torch.randn(6, 9, generator=generator)
    rows = torch.cat([10**size * torch.randn(2, 9, generator=generator), good])
    result = combined(rows, GradientSplitting(rule, parts=3, f=2, seed=seed))
    spread = (good - good.mean(0)).norm(dim=1).max()
    assert (result - good.mean(0)).norm() <= (1 + 3**0.5) * 4 * spread


def test_a_seed_decides_and_the_order_of_names_does_not() -> None:
    rows = torch.randn(7, 30, generator=torch.Generator().manual_seed(0))
    first, again, other = (scores(rows, GradientSplitting(Median(), parts=4, f=1, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_nan_bounds_and_passes() -> None:
    rows = torch.randn(7, 700, generator=torch.Generator().manual_seed(0))
    for rule in (Median(), MultiKrum(2)):
        assert max(times_read(states(rows), GradientSplitting(rule, f=2))) <= 2
    rows[1, 4] = float("nan")
    kept = combine(states(rows), GradientSplitting(MultiKrum(2), parts=3, f=2), nonfinite="drop")
    without = combine(states(rows[[0, 2, 3, 4, 5, 6]]), GradientSplitting(MultiKrum(1), parts=3, f=1))
    assert all(torch.equal(kept[name], without[name]) for name in kept)
    with pytest.raises(TooFewSets, match="n > 2 f: give at least 5 sets"):
        GradientSplitting(Median(), f=2).check(4)
    with pytest.raises(BadParameter, match="parts must be at least 1"):
        GradientSplitting(Median(), parts=0).check(4)
    with pytest.raises(BadParameter, match="neither a weighing nor a pointwise rule"):
        GradientSplitting(NearestNeighbourMixing(Median()), f=0).check(4)
