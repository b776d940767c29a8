"""Minimum diameter averaging against all subsets, what f bad sets can do, large n, and the refusal."""

import time
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.errors import BadParameter, TooFewSets
from loomweight.rules import MinimumDiameter, combine
from loomweight.rules import minimum_diameter as module
from loomweight.rules.covers import Covers
from loomweight.rules.geometry import squared_distances

from .vectors import combined, states, times_read


def by_listing(rows: np.ndarray, f: int) -> np.ndarray:
    """Every subset: the smallest diameter, then the smallest sum of squared distances."""
    apart = ((rows[:, None] - rows) ** 2).sum(-1)
    subsets = [list(subset) for subset in combinations(range(len(rows)), len(rows) - f)]
    diameters = [apart[np.ix_(s, s)].max() for s in subsets]
    smallest = [s for s, diameter in zip(subsets, diameters, strict=True) if diameter <= min(diameters) * (1 + 1e-9)]
    return rows[min(smallest, key=lambda s: apart[np.ix_(s, s)].sum())].mean(0)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 9), d=st.integers(4, 7), seed=st.integers(0, 10**6), data=st.data())
def test_it_is_the_best_of_all_subsets(n: int, d: int, seed: int, data: st.DataObject) -> None:
    f = data.draw(st.integers(0, (n - 1) // 2))
    rows = np.random.default_rng(seed).standard_normal((n, d))
    # float64 means in another order
    np.testing.assert_allclose(combined(torch.from_numpy(rows), MinimumDiameter(f)).numpy(), by_listing(rows, f), rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(-2, 25), f=st.integers(1, 4))
def test_f_bad_sets_leave_it_within_the_good_sets_diameter(seed: int, size: float, f: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    good = torch.randn(9 - f, 6, generator=generator)
    rows = torch.cat([10**size * torch.randn(f, 6, generator=generator), good])
    result = combined(rows, MinimumDiameter(f))
    assert (good - result).norm(dim=1).min() <= torch.cdist(good, good).max() * (1 + 1e-5)


def test_one_more_bad_set_breaks_it() -> None:
    rows = torch.cat([torch.full((3, 4), 1e6), torch.zeros(2, 4)])
    assert combined(rows, MinimumDiameter(2)).min() > 1e5


@pytest.mark.parametrize(("n", "f"), [(100, 20), (60, 29), (100, 40)])
def test_a_hundred_sets_need_no_list_of_subsets(n: int, f: int) -> None:
    """C(100, 20) is 5e20. The diameter found cannot be had smaller by any exchange of one set."""
    rows = np.random.default_rng(0).standard_normal((n, 200))
    gram = torch.from_numpy(rows @ rows.T)
    start = time.thread_time()
    share = MinimumDiameter(f).coefficients(gram).numpy()
    assert time.thread_time() - start < 30
    kept, left = np.flatnonzero(share), np.flatnonzero(share == 0)
    apart = squared_distances(gram.numpy())
    assert len(kept) == n - f
    for out in kept:
        rest = [i for i in kept if i != out]
        assert all(apart[np.ix_([*rest, i], [*rest, i])].max() >= apart[np.ix_(kept, kept)].max() for i in left)


def test_a_search_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT", 20)
    rows = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(
        BadParameter, match=r"among 30 sets the subset of the smallest diameter was not found in 20 steps; lower f, or use a rule that needs no"
    ):
        combine(states(rows), MinimumDiameter(10))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 7), seed=st.integers(0, 10**6))
def test_covers_against_all_subsets_of_vertices(n: int, seed: int) -> None:
    far = np.triu(np.random.default_rng(seed).random((n, n)) < 0.4, 1)
    graph = {i: {j for j in range(n) if far[i, j] or far[j, i]} for i in range(n)}
    graph = {i: others for i, others in graph.items() if others}
    edges = [(i, j) for i in graph for j in graph[i]]
    for size in range(n + 1):
        covers = [set(c) for k in range(size + 1) for c in combinations(range(n), k) if all(i in c or j in c for i, j in edges)]
        minimal = {frozenset(c) for c in covers if not any(other < c for other in covers)}
        found = set(Covers(10_000).all(graph, size))
        assert minimal <= found and all(set(c) in covers for c in found)
        assert Covers(10_000).smaller(graph, size) == bool(covers)


def test_a_nan_set_is_dropped_and_counted_against_f() -> None:
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    rows[2, 4] = float("nan")
    kept = combine(states(rows), MinimumDiameter(2), nonfinite="drop")
    without = combine(states(rows[[0, 1, 3, 4]]), MinimumDiameter(1))
    assert all(torch.equal(kept[name], without[name]) for name in kept)


def test_bound_and_passes() -> None:
    with pytest.raises(TooFewSets, match="n > 2 f: give at least 5 sets"):
        MinimumDiameter(2).check(4)
    rows = torch.randn(5, 700, generator=torch.Generator().manual_seed(0))
    assert max(times_read(states(rows), MinimumDiameter(1))) <= 2
