"""The Pareto front is exactly the set that nothing dominates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.search import front

# few different values, so that ties and equal rows are frequent
rows = st.integers(1, 3).flatmap(lambda m: st.lists(st.lists(st.integers(0, 3).map(float), min_size=m, max_size=m), min_size=1, max_size=12))


def peeled(values: list[list[float]]) -> set[int]:
    """Another way: in lexicographic order from the best, a row is on the front unless a row already kept covers it."""
    order = sorted(range(len(values)), key=lambda i: values[i], reverse=True)
    kept: list[int] = []
    for i in order:
        covered = any(values[k] != values[i] and all(a >= b for a, b in zip(values[k], values[i], strict=True)) for k in kept)
        if not covered:
            kept.append(i)
    return set(kept)


@given(rows)
def test_same_as_peeling(values: list[list[float]]) -> None:
    assert set(front(values, ("max",) * len(values[0]))) == peeled(values)


@given(rows)
def test_same_as_optuna(values: list[list[float]]) -> None:
    optuna = pytest.importorskip("optuna")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = ("max", "min", "max")[: len(values[0])]
    study = optuna.create_study(directions=["maximize" if d == "max" else "minimize" for d in directions])
    for row in values:
        study.add_trial(optuna.trial.create_trial(values=row))
    optuna.logging.set_verbosity(before)
    assert set(front(values, directions)) == {trial.number for trial in study.best_trials}


@given(rows)
def test_minimizing_is_maximizing_the_negative(values: list[list[float]]) -> None:
    negative = [[-value for value in row] for row in values]
    assert front(values, ("max",) * len(values[0])) == front(negative, ("min",) * len(values[0]))


def test_bad_rows() -> None:
    with pytest.raises(BadParameter, match="needs 2 values"):
        front([[1.0]], ("max", "max"))
    with pytest.raises(BadParameter, match="NaN"):
        front([[float("nan")]], ("max",))
    assert front([], ("max",)) == ()
