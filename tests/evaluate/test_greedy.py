"""Greedy selection, followed by hand and by its promises."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter, NonFinite
from loomweight.evaluate import Attempt, Selection, greedy_soup
from loomweight.weights import Weights

points = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=8)


def soup_of(points: Sequence[Sequence[float]], strict: bool = False, singles: Sequence[float] | None = None) -> Selection:
    """Averages of points, the nearer to the origin the better."""
    rows = torch.tensor(points, dtype=torch.float64)
    return greedy_soup(
        [Weights.of({"w": row}) for row in rows],
        lambda w: -float(w["w"].square().sum()),
        lambda chosen: Weights.of({"w": rows[list(chosen)].mean(0)}),
        strict=strict,
        singles=singles,
    )


def test_by_hand() -> None:
    """Best single: 1. With -2 the mean is -0.5: kept. With 4: 1, worse, left. With -5 (mean -2): worse, left."""
    found = soup_of([[4.0], [1.0], [-5.0], [-2.0]])
    assert list(found) == [1, 3]
    assert found.score == -0.25
    assert found.singles == (-16.0, -1.0, -25.0, -4.0)
    assert found.attempts == (Attempt(1, -1.0, True), Attempt(3, -0.25, True), Attempt(0, -1.0, False), Attempt(2, -4.0, False))


@given(points)
def test_never_worse_than_the_best_single_one_and_told_truly(rows: list[tuple[float, float]]) -> None:
    found = soup_of(rows)
    mean = torch.tensor(rows, dtype=torch.float64)[list(found.chosen)].mean(0)
    assert found.score >= max(found.singles)
    assert found.score == -float(mean.square().sum())
    assert sorted(attempt.candidate for attempt in found.attempts) == list(range(len(rows)))


@given(points)
def test_no_rejected_candidate_would_have_been_kept_in_its_turn(rows: list[tuple[float, float]]) -> None:
    """Another way to say the rule: replay the decisions from the candidates alone."""
    found, all_rows = soup_of(rows), torch.tensor(rows, dtype=torch.float64)
    kept: list[int] = []
    for attempt in found.attempts:
        value = -float(all_rows[[*kept, attempt.candidate]].mean(0).square().sum())
        before = -float(all_rows[kept].mean(0).square().sum()) if kept else float("-inf")
        assert attempt.kept == (value >= before)
        kept += [attempt.candidate] if attempt.kept else []
    assert tuple(kept) == found.chosen


def test_equal_scores_are_kept_by_the_papers_and_left_by_one_code() -> None:
    assert soup_of([[1.0], [1.0]]).chosen == (0, 1)
    assert soup_of([[1.0], [1.0]], strict=True).chosen == (0,)


def test_known_single_scores_are_not_computed_again() -> None:
    calls: list[tuple[int, ...]] = []

    def average(chosen: Sequence[int]) -> Weights:
        calls.append(tuple(chosen))
        return Weights.of({"w": torch.zeros(1)})

    greedy_soup([Weights.of({"w": torch.zeros(1)})] * 3, lambda w: 0.0, average, singles=[0.0, 2.0, 1.0])
    assert calls == [(1, 2), (1, 0)]


def test_bad_calls() -> None:
    with pytest.raises(BadParameter, match="at least one candidate, found none"):
        soup_of([])
    with pytest.raises(BadParameter, match="1 single scores for 2 candidates"):
        soup_of([[1.0], [2.0]], singles=[0.0])
    with pytest.raises(NonFinite, match="the score of candidate 1 is NaN"):
        soup_of([[1.0], [float("nan")]])
    with pytest.raises(NonFinite, match="the score of candidate 1 is NaN"):
        soup_of([[1.0], [2.0]], singles=[0.0, float("nan")])
    with pytest.raises(NonFinite, match="the average of candidates 0, 1 is NaN"):
        soup_of([[1.0], [float("nan")]], singles=[1.0, 0.0])
