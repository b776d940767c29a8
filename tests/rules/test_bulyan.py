"""Bulyan and the mean around the median: the definitions on explicit vectors, what f bad sets can do, NaN, and how often sets are read."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.errors import BadParameter, NonFinite, TooFewSets
from loomweight.rules import Bulyan, Krum, MeanAroundMedian, Rule, combine
from loomweight.rules.around_median import near_the_median
from loomweight.rules.network import WIDEST

from .vectors import combined, states, times_read


def around(rows: np.ndarray, keep: int) -> np.ndarray:
    """By sorting each entry's distances from the median."""
    away = np.abs(rows - np.median(rows, axis=0))
    return np.take_along_axis(rows, away.argsort(axis=0, kind="stable")[:keep], axis=0).mean(0)


def by_definition(rows: np.ndarray, f: int) -> np.ndarray:
    """Krum again and again on explicit differences, then the mean around the median."""
    n, left, picked = len(rows), list(range(len(rows))), []
    while len(picked) < n - 2 * f:
        apart = [sorted(((rows[i] - rows[j]) ** 2).sum() for j in left if j != i) for i in left]
        sums = [tuple(np.cumsum(a)[max(1, len(left) - f - 2) - 1 :]) for a in apart]
        rounded = [tuple(float(f"{x:.9g}") for x in row) for row in sums]
        picked.append(left.pop(min(range(len(left)), key=lambda i: rounded[i])))
    return around(rows[picked], n - 4 * f)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, WIDEST + 3), seed=st.integers(0, 10**6), data=st.data())
def test_near_the_median_against_sorting_distances(n: int, seed: int, data: st.DataObject) -> None:
    keep = data.draw(st.integers(1 if n % 2 else min(2, n), n))
    rows = np.random.default_rng(seed).standard_normal((n, 20))
    found = near_the_median(list(torch.from_numpy(rows)), keep)
    # float64 sums in another order
    np.testing.assert_allclose(found.numpy(), around(rows, keep), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_widened_before_they_are_averaged(dtype: torch.dtype) -> None:
    stack = torch.randn(9, 64, generator=torch.Generator().manual_seed(1)).to(dtype)
    wide = combine([{"w": row.double()} for row in stack], MeanAroundMedian(f=2)).open("w")(0, 64)
    found = combine([{"w": row} for row in stack], MeanAroundMedian(f=2)).open("w")(0, 64)
    assert found.dtype == torch.float32
    # float32 sums of seven values against float64 ones
    torch.testing.assert_close(found, wide.float(), rtol=1e-6, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), f=st.integers(0, 3), more=st.integers(0, 4))
def test_bulyan_is_krum_again_and_again_then_the_mean_around_the_median(seed: int, f: int, more: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((4 * f + 3 + more, 5))
    found = combined(torch.from_numpy(rows), Bulyan(f))
    # float64 distances from a Gram matrix, against differences
    np.testing.assert_allclose(found.numpy(), by_definition(rows, f), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("rule", "bad"), [(Bulyan(2), 2), (MeanAroundMedian(5), 5), (MeanAroundMedian(2), 2)], ids=repr)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(-2, 25), together=st.booleans())
def test_f_bad_sets_leave_every_entry_within_a_range_of_the_good_ones(rule: Rule, bad: int, seed: int, size: float, together: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    good = torch.randn(11 - bad, 6, generator=generator)
    hostile = 10**size * torch.randn(bad, 6, generator=generator)
    hostile = hostile[:1].expand_as(hostile) if together else hostile
    result = combined(torch.cat([hostile, good])[torch.randperm(11, generator=generator)], rule)
    low, high = good.amin(0), good.amax(0)
    slack = (high - low) * (1 + 1e-5)
    assert (result >= low - slack).all() and (result <= high + slack).all()


def test_a_hidden_entry_gets_through_krum_and_not_through_bulyan() -> None:
    """The paper's point: in high dimension one entry may be far off while the distance of the whole is ordinary."""
    rows = torch.randn(11, 10_000, generator=torch.Generator().manual_seed(0))
    rows[:2] = rows[2:].mean(0)
    rows[:2, 7] += 60.0
    assert abs(float(combine([{"w": row} for row in rows], Krum(2))["w"][7])) > 50
    assert abs(float(combine([{"w": row} for row in rows], Bulyan(2))["w"][7])) < 3


@pytest.mark.parametrize("rule", [Bulyan(1), MeanAroundMedian(1)], ids=repr)
def test_a_set_with_nan_is_refused_or_dropped_and_counted_against_f(rule: Rule) -> None:
    rows = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    rows[2, 4] = float("nan")
    with pytest.raises(NonFinite, match=r"tensor 'b.weight' holds nan"):
        dict(combine(states(rows), rule).items())
    kept = combine(states(rows), rule, nonfinite="drop")
    without = combine(states(rows[[0, 1, 3, 4, 5, 6, 7]]), type(rule)(0))
    assert all(torch.equal(kept[name], without[name]) for name in kept)


def test_a_masked_entry_is_decided_by_the_others() -> None:
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    rows[2, 4] = float("inf")
    masked = combine(states(rows), MeanAroundMedian(1), nonfinite="mask")["b.weight"]
    # float32 mean of four values, in another order
    torch.testing.assert_close(masked[1], rows[[0, 1, 3, 4], 4].mean(), rtol=1e-5, atol=1e-6)
    with pytest.raises(BadParameter, match="masked entry has no meaning"):
        combine(states(rows.repeat(2, 1)), Bulyan(1), nonfinite="mask")


def test_bounds() -> None:
    with pytest.raises(TooFewSets, match=r"n >= 4 f \+ 3: give at least 11 sets or lower f; got 10 sets"):
        Bulyan(2).check(10)
    with pytest.raises(TooFewSets, match="n > 2 f: give at least 5 sets"):
        MeanAroundMedian(2).check(4)
    with pytest.raises(BadParameter, match="at least 0"):
        MeanAroundMedian(-1)


def test_order_does_not_matter() -> None:
    rows = torch.randn(11, 30, generator=torch.Generator().manual_seed(4))
    orders = [torch.randperm(11, generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
    for rule in (Bulyan(2), MeanAroundMedian(2)):
        for order in orders:
            # the same values, the middle ones summed in another order
            torch.testing.assert_close(combined(rows[order], rule), combined(rows, rule), rtol=1e-6, atol=1e-6)


def test_every_set_is_read_at_most_twice() -> None:
    rows = torch.randn(9, 700, generator=torch.Generator().manual_seed(0))
    assert max(times_read(states(rows), Bulyan(1))) <= 2 and sorted(times_read(states(rows), Bulyan(1)))[:2] == [1, 1]
