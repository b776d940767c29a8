"""Krum and Multi-Krum: the paper's score, small updates, and what f bad sets can do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight.errors import BadParameter, NonFinite, TooFewSets
from loomweight.rules import Krum, MultiKrum, Rule, combine
from loomweight.rules.krum import best_first

from .vectors import combined, near, states, times_read


def scores(rows: Tensor, f: int, neighbours: int, power: int) -> Tensor:
    """Sums of the smallest distances, from explicit differences in float64."""
    distances = torch.cdist(rows.double(), rows.double(), compute_mode="donot_use_mm_for_euclid_dist") ** power
    return distances.sort(dim=1).values[:, 1 : neighbours + 1].sum(1)


def chosen(rows: Tensor, f: int) -> int:
    products = torch.from_numpy((rows.double() @ rows.double().T).numpy())
    return int(Krum(f).coefficients(products).argmax())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(0, 5))
def test_it_is_the_papers_score(seed: int, f: int, more: int) -> None:
    n = 2 * f + 3 + more
    rows = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    paper = scores(rows, f, n - f - 2, 2)
    assert paper[chosen(rows, f)] <= paper.min() * (1 + 1e-9)


def test_other_rules_of_that_name_choose_other_sets() -> None:
    """n - f - 1 neighbours, or distances not squared: over random cases each differs from the paper's at times."""
    differ = {"one more": 0, "not squared": 0}
    for seed in range(60):
        rows = torch.randn(11, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        paper = chosen(rows, 2)
        differ["one more"] += int(scores(rows, 2, 8, 2).argmin()) != paper
        differ["not squared"] += int(scores(rows, 2, 7, 1).argmin()) != paper
    assert all(differ.values()), differ


def small_updates(seed: int, n: int, bad: int, d: int) -> Tensor:
    """n clients around one model, the last ones with updates 1.5 times as long, relative size 1e-4."""
    rows = near(seed, n + 1, d, 1e-4)
    rows = rows[:1] + (rows[1:] - rows[:1])
    rows[n - bad :] = rows.mean(0) + 1.5 * (rows[n - bad :] - rows.mean(0))
    return rows


@pytest.mark.parametrize(("n", "bad", "d"), [(15, 3, 200_000), (30, 6, 20_000)])
def test_small_updates_are_told_apart_in_40_of_40_cases(n: int, bad: int, d: int) -> None:
    """With 30 clients torch.cdist, too, multiplies matrices, and errs."""
    wrong = raw = 0
    for seed in range(40):
        rows = small_updates(seed, n, bad, d)
        exact = chosen(rows, bad)
        picked = combine([{"w": row} for row in rows], Krum(bad))["w"]
        wrong += not torch.equal(picked, rows[exact])
        raw += int(Krum(bad).coefficients((rows @ rows.T).double()).argmax()) != exact
    assert wrong == 0
    assert raw > 20, "plain float32 products should fail here; does the case still test anything?"


RULES: list[Rule] = [Krum(2), MultiKrum(2), MultiKrum(2, m=3)]


@pytest.mark.parametrize("rule", RULES, ids=repr)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(-3, 25))
def test_two_bad_sets_cannot_move_it_beyond_the_bound(rule: Rule, seed: int, size: float) -> None:
    """Within sqrt((n - f - 2) / (n - 2 f - 1)) of the good sets' diameter from their hull, here: from their ball."""
    generator = torch.Generator().manual_seed(seed)
    good = torch.randn(7, 6, generator=generator)
    bad = good.mean(0) + 10**size * torch.randn(2, 6, generator=generator)
    bad[1] = bad[0] if seed % 2 else bad[1]
    result = combined(torch.cat([bad, good])[torch.randperm(9, generator=generator)], rule)
    diameter = torch.cdist(good, good).max()
    reach = ((9 - 2 - 2) / (9 - 4 - 1)) ** 0.5
    nearest = (good - result).norm(dim=1).min() if isinstance(rule, Krum) else (good - result).norm(dim=1).max() - diameter
    assert nearest <= reach * diameter * (1 + 1e-5)


def test_far_sets_are_never_chosen() -> None:
    rows = torch.cat([torch.full((2, 8), 1e20), torch.randn(7, 8, generator=torch.Generator().manual_seed(3))])
    assert float(combined(rows, MultiKrum(2)).abs().max()) < 10
    torch.testing.assert_close(combined(rows, MultiKrum(2)), rows[2:].mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", [Krum(1), MultiKrum(1)], ids=repr)
def test_a_set_with_nan_is_refused_or_dropped_and_counted_against_f(rule: Rule) -> None:
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    rows[2, 4] = float("nan")
    with pytest.raises(NonFinite, match=r"set 2: tensor 'b.weight' holds nan at \[1\]"):
        combine(states(rows), rule)
    kept = combine(states(rows), rule, nonfinite="drop")
    without = combine(states(rows[[0, 1, 3, 4]]), type(rule)(0))
    assert all(torch.equal(kept[name], without[name]) for name in kept)
    with pytest.raises(BadParameter, match="masked entry has no meaning"):
        combine(states(rows), rule, nonfinite="mask")


@pytest.mark.parametrize("rule", [Krum(3), MultiKrum(3), MultiKrum(3, m=2), Krum(3, neighbours=11)], ids=repr)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(15)))
def test_order_does_not_matter(rule: Rule, seed: int, order: list[int]) -> None:
    """Not even where updates are small, or sets are equal."""
    rows = near(seed, 15, 60, 1e-4)
    rows[3] = rows[4]
    # float32 means of the same sets in another order
    torch.testing.assert_close(combined(rows[order], rule), combined(rows, rule), rtol=1e-6, atol=1e-8)


def test_equal_up_to_rounding_is_equal() -> None:
    """Two blocks of mixed sets: the first two sums are the same but for rounding, the third tells which are better."""
    table = np.array([[1.0, 2.0, 4.0], [1 + 3e-16, 2.0, 3.0], [1 + 5e-16, 2.0, 4.0], [1 + 4e-16, 2 - 4e-16, 3.0]])
    assert sorted(best_first(table)[:2].tolist()) == [1, 3]


@pytest.mark.parametrize("rule", [Krum, MultiKrum])
def test_the_bound_on_n_and_f(rule: type) -> None:
    with pytest.raises(TooFewSets, match=r"bears 2 bad sets only among n >= 2 f \+ 3: give at least 7 sets or lower f; got 6 sets"):
        rule(2).check(6)
    rule(2).check(7)
    with pytest.raises(BadParameter, match="must not be negative"):
        rule(-1).check(7)
    with pytest.raises(BadParameter, match=r"neighbours must lie in \[1, n - 1\] = \[1, 6\]"):
        rule(2, neighbours=7).check(7)
    with pytest.raises(BadParameter, match=r"m must lie in \[1, n - f\] = \[1, 5\]"):
        MultiKrum(2, m=6).check(7)


def test_multi_krum_of_one_is_krum_and_equal_competitors_share_a_place() -> None:
    rows = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(combined(rows, MultiKrum(2, m=1)), combined(rows, Krum(2)))
    products = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    shares = MultiKrum(0, m=1).coefficients(products @ products.T)
    assert shares.tolist() == [0, 0.5, 0.5, 0]


@pytest.mark.parametrize("rule", [Krum(1), MultiKrum(1)], ids=repr)
def test_every_set_is_read_at_most_twice(rule: Rule) -> None:
    rows = torch.randn(5, 700, generator=torch.Generator().manual_seed(0))
    assert max(times_read(states(rows), rule)) <= 2
