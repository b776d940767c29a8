"""Rank statistics by second formulas, on data whose answer is known, and on NAS-Bench-201."""

from itertools import combinations
from math import asin, pi, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loomweight.errors import BadParameter, NonFinite, TooFewSets
from loomweight.evaluate import Interval, kendall, ranking, relative_improvement, seed_noise, sparse_kendall, spearman

from .tables import stored, table

rows = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=14).filter(lambda r: all(len(set(c)) > 1 for c in zip(*r, strict=True)))


def pairs(one: list[int], other: list[int]) -> tuple[int, int, int, int, int]:
    """Concordant, discordant, tied in one alone, tied in the other alone, tied in both."""
    signs = [((a > b) - (a < b), (c > d) - (c < d)) for (a, c), (b, d) in combinations(zip(one, other, strict=True), 2)]
    counted = [sum(x * y == 1 for x, y in signs), sum(x * y == -1 for x, y in signs)]
    return (*counted, sum(x == 0 != y for x, y in signs), sum(y == 0 != x for x, y in signs), sum(x == y == 0 for x, y in signs))  # type: ignore[return-value]


@given(rows)
def test_tau_by_counting_pairs(rows: list[tuple[int, int]]) -> None:
    one, other = (list(column) for column in zip(*rows, strict=True))
    agree, differ, first, second, _ = pairs(one, other)
    expected = (agree - differ) / sqrt((agree + differ + first) * (agree + differ + second))
    assert kendall(one, other, resamples=0).value == pytest.approx(expected, abs=1e-12)  # float64 rounding
    assert kendall(other, one, resamples=0).value == pytest.approx(expected, abs=1e-12)  # float64 rounding


@given(rows)
def test_rho_is_scipys(rows: list[tuple[int, int]]) -> None:
    one, other = (list(column) for column in zip(*rows, strict=True))
    assert spearman(one, other, resamples=0).value == pytest.approx(stats.spearmanr(one, other)[0], abs=1e-12)  # float64 rounding


@given(rows)
def test_beyond_the_noise_by_counting_pairs(rows: list[tuple[int, int]]) -> None:
    """Of pairs whose truths, in twos, fall in different bins."""
    scores, truth = (list(column) for column in zip(*rows, strict=True))
    bins = [int(np.round(value / 2)) for value in truth]
    if len(set(bins)) > 1:
        agree, differ, first, *_ = pairs(scores, bins)
        # float64 rounding
        assert sparse_kendall(scores, truth, 2.0, resamples=0).value == pytest.approx((agree - differ) / (agree + differ + first), abs=1e-12)


def test_noise_below_all_differences_changes_nothing() -> None:
    generator = np.random.default_rng(0)
    scores, truth = generator.normal(size=50), generator.permutation(50) / 2
    assert sparse_kendall(scores, truth, 0.1, resamples=0).value == pytest.approx(kendall(scores, truth, resamples=0).value, abs=1e-12)  # float64 rounding


def test_noise_hides_what_it_should() -> None:
    """The truth is 20 classes of 5 and noise within them; a score of the classes alone cannot have tau 1, but has it beyond the noise."""
    generator = np.random.default_rng(0)
    classes = np.repeat(np.arange(20.0), 5)
    truth, scores = classes + generator.uniform(-0.4, 0.4, 100), classes + generator.uniform(-0.4, 0.4, 100)
    assert kendall(scores, truth, resamples=0).value < 0.99
    assert sparse_kendall(scores, truth, 1.0, resamples=0).value == pytest.approx(1.0)


def test_intervals_hold_the_true_value_as_often_as_they_say() -> None:
    """Normal pairs with correlation r have tau 2 / pi asin r and rho 6 / pi asin r / 2; 90 % intervals, 60 samples."""
    generator, r = np.random.default_rng(3), 0.6
    hits = []
    for _ in range(60):
        one = generator.normal(size=60)
        other = r * one + sqrt(1 - r**2) * generator.normal(size=60)
        tau = kendall(one, other, resamples=60, level=0.9)
        rho = spearman(one, other, resamples=60, level=0.9)
        hits.append((tau.low <= 2 / pi * asin(r) <= tau.high, rho.low <= 6 / pi * asin(r / 2) <= rho.high))
    assert all(0.78 <= share <= 0.99 for share in np.mean(hits, axis=0))


def test_more_architectures_make_narrower_intervals_and_a_seed_the_same_ones() -> None:
    generator = np.random.default_rng(0)
    one = generator.normal(size=400)
    other = one + generator.normal(size=400)
    few, many = (spearman(one[:n], other[:n], resamples=200) for n in (40, 400))
    assert many.high - many.low < 0.6 * (few.high - few.low)
    assert many == spearman(one, other, resamples=200) != spearman(one, other, resamples=200, seed=1)
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"


def test_few_and_many_architectures_go_by_the_same_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    one, other = generator.integers(9, size=40), generator.integers(9, size=40)
    together = kendall(one, other, resamples=50), sparse_kendall(one, other, 2.0, resamples=50)
    monkeypatch.setattr("loomweight.evaluate.ranks.correlation.AT_ONCE", 10)
    monkeypatch.setattr("loomweight.evaluate.ranks.sparse.AT_ONCE", 10)
    apart = kendall(one, other, resamples=50), sparse_kendall(one, other, 2.0, resamples=50)
    for a, b in zip(together, apart, strict=True):
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-9)  # float64 rounding


def test_the_oracles_of_the_table() -> None:
    """Agreement of 12 with 200 epochs, and of the count of operations with accuracy."""
    data = ("cifar10", "cifar100", "imagenet16")
    taus = [round(kendall(table().column(name, "test", 12), table().column(name), resamples=0).value, 3) for name in data]
    rhos = [round(spearman(table().macs, table().column(name), resamples=0).value, 3) for name in data]
    assert taus == [0.700, 0.644, 0.635]
    assert rhos == [0.753, 0.728, 0.692]
    assert round(kendall(table().column("cifar10", "val", 12), table().column("cifar10"), resamples=0).value, 3) == 0.594


def test_noise_between_seeds_is_found_again() -> None:
    generator = np.random.default_rng(0)
    quality = generator.normal(90, 1, 500)
    quiet, loud = (seed_noise(quality[:, None] + sigma * generator.normal(size=(500, 3)), resamples=20) for sigma in (0.1, 1.0))
    assert quiet.spread == pytest.approx(0.1, rel=0.06)  # 1,000 degrees of freedom: known to 2.2 %, not quite three of these are allowed
    assert loud.spread == pytest.approx(1.0, rel=0.06)  # 1,000 degrees of freedom: known to 2.2 %, not quite three of these are allowed
    assert loud.ceiling.value == pytest.approx(2 / pi * asin(0.5), abs=0.03)  # correlation 1 / (1 + 1) between two seeds
    assert quiet.ceiling.value > 0.9 > loud.ceiling.value


def test_noise_of_the_benchmark() -> None:
    """Isomorphic cells are repeated trainings of one network."""
    accuracy = table().column()
    found = seed_noise([accuracy[list(group)].tolist() for group in table().classes()], resamples=10)
    assert found.architectures == 1350
    by_hand = [accuracy[list(group)] for group in table().classes() if len(group) > 1]
    assert found.spread == pytest.approx(sqrt(sum(len(g) * g.var() for g in by_hand) / sum(len(g) - 1 for g in by_hand)))
    assert kendall(table().macs, accuracy, resamples=0).value < found.ceiling.value < 1


def test_the_improvement_over_the_average_architecture() -> None:
    found = relative_improvement([94.0, 96.0], [90.0, 90.0])
    assert found.value == pytest.approx(100 * 5 / 90)
    assert (found.low, found.high) == pytest.approx((100 * 4 / 90, 100 * 6 / 90))
    random = table().column()[::7]
    assert abs(relative_improvement(random, random).value) < 1e-9
    assert relative_improvement(random, random, resamples=100).low < 0 < relative_improvement(random, random, resamples=100).high


SAMPLE = {"params": stored("params"), "MACs": stored("macs")}


@pytest.mark.parametrize(
    ("name", "undefined", "good"),
    [
        ("grad_norm", "raise", False),
        ("snip", "raise", False),
        ("log_synflow", "raise", False),  # 0.768 beside 0.754: within resampling
        ("nwot", "drop", False),
        ("epsinas", "drop", False),  # 0.797 beside 0.712 on the 232 that have a score: the interval reaches 0
        ("epsinas", "last", False),
    ],
)
def test_a_proxy_is_good_where_it_beats_the_count_of_operations(name: str, undefined: str, good: bool) -> None:
    found = ranking(stored(name), stored("c10_test_200ep"), SAMPLE, name=name, undefined=undefined)  # type: ignore[arg-type]
    assert found.good is good
    assert found.score.rho.value > 0.4 or undefined == "last"
    assert ("not a good score, whatever its correlation" in str(found)) is not good


def test_ranks_of_two_proxies_together_are_better() -> None:
    switches = np.where(np.isfinite(stored("nwot")), stored("nwot"), -np.inf)
    both = stats.rankdata(stored("log_synflow")) + stats.rankdata(switches)
    found = ranking(both, stored("c10_test_200ep"), SAMPLE, name="both")
    assert round(found.score.rho.value, 3) == 0.815
    assert found.good
    assert found.verdict.startswith("both ranks better than params: rho higher by 0.0")


def test_the_count_of_operations_does_not_beat_itself() -> None:
    found = ranking(stored("macs"), stored("c10_test_200ep"), SAMPLE)
    assert found.gain == Interval(0.0, 0.0, 0.0)
    assert not found.good


def test_the_report_in_full() -> None:
    found = ranking(stored("epsinas"), stored("c10_test_200ep"), SAMPLE, name="epsinas", undefined="drop", noise=0.25, ceiling=0.9)
    head, *lines = str(found).splitlines()
    assert head.split() == ["Kendall", "tau", "Spearman", "rho", "tau", "beyond", "noise"]
    assert [line.split()[0] for line in lines[:3]] == ["epsinas", "params", "MACs"]
    assert "0.797" in lines[0]
    assert lines[3] == "232 architectures; 168 without a score, left out here; noise ceiling: tau 0.900 between two seeds"
    assert lines[4].startswith("epsinas ranks no better than params, a count: rho differs by 0.085 [-0.00")
    assert "noise ceiling not known" in str(ranking(stored("snip"), stored("c10_test_200ep"), SAMPLE))


def test_on_the_same_architectures() -> None:
    """The baseline's correlation is that on the architectures which have a score."""
    finite = np.isfinite(stored("epsinas"))
    found = ranking(stored("epsinas"), stored("c10_test_200ep"), SAMPLE, undefined="drop")
    assert found.baselines[0].rho.value == pytest.approx(stats.spearmanr(stored("macs")[finite], stored("c10_test_200ep")[finite])[0])


def test_bad_calls() -> None:
    with pytest.raises(BadParameter, match=r"one each; found shapes \[\(3,\), \(4,\)\]"):
        kendall([1, 2, 3], [1, 2, 3, 4])
    with pytest.raises(TooFewSets, match="at least 3 architectures, found 2"):
        spearman([1, 2], [1, 2])
    with pytest.raises(NonFinite, match="sequence 2 holds nan at 1; leave such architectures out"):
        kendall([1, 2, 3], [1, float("nan"), 2])
    with pytest.raises(BadParameter, match=r"all numbers of sequence 1 are 5\.0, so there is no order"):
        kendall([5, 5, 5], [1, 2, 3])
    with pytest.raises(BadParameter, match="resamples is 0 or more and level between 0 and 1, found 10 and 95"):
        kendall([1, 2, 3], [1, 2, 3], resamples=10, level=95)
    with pytest.raises(BadParameter, match=r"the noise is a step above 0, found 0\.0"):
        sparse_kendall([1, 2, 3], [1, 2, 3], 0.0)
    with pytest.raises(BadParameter, match=r"all numbers of sequence 2 are 0\.0"):
        sparse_kendall([1, 2, 3], [0.1, 0.2, 0.3], 1000.0)
    with pytest.raises(TooFewSets, match="at least 3 architectures with 2 trainings, found 1"):
        seed_noise([[1.0, 2.0], [1.0], [2.0]])
    with pytest.raises(NonFinite, match=r"architecture 1 .* has an accuracy that is not finite"):
        seed_noise([[1.0, 2.0], [1.0, float("inf")], [1.0, 3.0]])
    with pytest.raises(TooFewSets, match="at least 2 accuracies of each are needed, found 1 and 3"):
        relative_improvement([1.0], [1.0, 2.0, 3.0])
    with pytest.raises(BadParameter, match=r"the average of random architectures is 0\.0"):
        relative_improvement([1.0, 2.0], [0.0, 0.0])
    with pytest.raises(NonFinite, match="a run that failed counts as what it reached"):
        relative_improvement([1.0, float("nan")], [1.0, 2.0])
    with pytest.raises(BadParameter, match="a ranking is judged beside a baseline"):
        ranking([1, 2, 3], [1, 2, 3], {})
    with pytest.raises(NonFinite, match="sequence 2 holds nan at 0"):
        ranking([float("nan"), 2, 3], [1, 2, 3], {"params": [1, 2, 3]})
