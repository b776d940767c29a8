"""EMARS: the potential is a slope, survivors are good or on their way, and few architectures share the training."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.search import EMARS, Ordered, Past, Space, Study, Trial, Values, potential

SPACE = Space({f"w{i}": Ordered(tuple(range(6))) for i in range(5)})


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_it_is_the_slope_of_the_fitted_line(accuracies: list[float]) -> None:
    assert potential(accuracies) == pytest.approx(np.polyfit(range(len(accuracies)), accuracies, 1)[0], abs=1e-12)  # float64 rounding


def test_of_one_measurement_it_is_the_accuracy_and_falling_is_below_standing_still() -> None:
    assert potential([0.3]) == 0.3
    assert potential([0.9, 0.5]) < potential([0.9, 0.8]) < potential([0.9, 0.9]) == 0
    for bad in ([], [0.1, float("nan")]):
        with pytest.raises(BadParameter, match="at least one accuracy, all of them finite"):
            potential(bad)


def test_survivors_are_the_best_and_the_fastest() -> None:
    """Three are measured twice: the best stands still, one rises from below, one is beaten in both. Two of them are to survive."""
    best, rising, beaten = ({f"w{i}": n for i in range(5)} for n in (1, 2, 3))
    told = [(best, 0.8), (rising, 0.2), (beaten, 0.5), (best, 0.8), (rising, 0.6), (beaten, 0.5)]
    sampler = EMARS(population=2)
    trials = tuple(Trial(i, values, (value,)) for i, (values, value) in enumerate(told))
    alive = [sampler.propose(Past(SPACE, ("max",), (*trials, *extra), np.random.default_rng(0))) for extra in ((), (Trial(6, best),))]
    assert sorted(values["w0"] for values in alive) == [1, 2]


def test_it_trains_fewer_architectures_than_random_sampling_and_each_more_often() -> None:
    """The paper's aim. Accuracies rise with the number of times an architecture was trained, as they do under shared weights."""
    seen: dict[tuple[int, ...], int] = {}

    def trained(values: Values) -> float:
        key = tuple(values.values())
        seen[key] = seen.get(key, 0) + 1
        return sum(key) / 25 * (1 - 0.5 ** seen[key])

    study = Study(SPACE, sampler=EMARS(population=8), seed=2).run(trained, 8 + 16 * 12, progress=False)
    assert len(seen) < 0.65 * len(study.trials)
    assert max(seen.values()) > 4
    rounds = [study.trials[8 + 16 * i : 24 + 16 * i] for i in range(12)]
    for before, now in pairwise(rounds):
        assert {str(trial.parameters) for trial in now[:8]} <= {str(trial.parameters) for trial in before}
    final = [sum(trial.parameters.values()) for trial in rounds[-1][:8]]
    assert np.mean(final) > 12.5 + 3
