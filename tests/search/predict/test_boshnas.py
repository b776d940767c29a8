"""BOSHNAS as a sampler: it resumes, it keeps to the space, and it finds more than chance does."""

from pathlib import Path

import numpy as np
import pytest

from loomweight.errors import BadParameter
from loomweight.search import BOSHNAS, Choice, Heteroscedastic, Ordered, Space, Study, Values

from .nasbench import CELL, labelled, table

SPACE = Space(
    {**{f"width{i}": Ordered((1, 2, 3, 4, 5)) for i in range(6)}, "op": Choice(("conv", "pool")), "depth": Ordered((1, 2))},
    depends={"width5": ("depth", (2,))},
)
SMALL = BOSHNAS(first=6, starts=4, surrogate=Heteroscedastic(widths=(16,), members=2, steps=40))


def worth(values: Values) -> float:
    """More is better, in some layers more than in others; pooling costs."""
    return sum(values[f"width{i}"] * (1 + i % 3) for i in range(5)) - 3 * (values["op"] == "pool")


def test_it_finds_more_than_chance() -> None:
    """20 trials of 18,750 configurations are worth more than 60 random ones."""
    ours = Study(SPACE, sampler=SMALL).run(worth, 20, progress=False).best.values[0]
    draw = np.random.default_rng(0)
    chance = [max(worth(SPACE.sample(draw)) for _ in range(60)) for _ in range(8)]
    assert ours > np.mean(chance) + np.std(chance)


@pytest.mark.slow
def test_it_finds_more_than_chance_on_nasbench201() -> None:
    """60 queries, five seeds; random search with 200 seeds."""
    whole = table()
    known = dict(zip(whole.cells, whole.accuracy, strict=True))
    space = Space({f"edge{i}": Choice(CELL.options) for i in range(6)})
    ours = [Study(space, sampler=BOSHNAS(), seed=seed).run(lambda v: known[tuple(v.values())], 60, progress=False).best.values[0] for seed in range(5)]
    chance = [whole.accuracy[labelled(seed, 60, len(whole.accuracy))].max() for seed in range(200)]
    assert np.mean(ours) > np.mean(chance)


def test_it_minimises_where_it_is_told_to() -> None:
    low = Study(SPACE, ("min",), sampler=SMALL).run(lambda v: -worth(v), 10, progress=False)
    assert low.best.values[0] == -Study(SPACE, sampler=SMALL).run(worth, 10, progress=False).best.values[0]


def test_every_proposal_is_new_and_of_the_space() -> None:
    study = Study(SPACE, sampler=SMALL).run(worth, 14, progress=False)
    told = [trial.parameters for trial in study.trials]
    assert all(SPACE.canonical(values) == values for values in told)
    assert len({tuple(values.values()) for values in told}) == 14


def test_a_study_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    whole = Study(SPACE, sampler=SMALL, seed=3).run(worth, 11, progress=False)
    with Study(SPACE, sampler=SMALL, seed=3, storage=tmp_path / "study") as first:
        first.run(worth, 9, progress=False)
    with Study(SPACE, sampler=SMALL, seed=3, storage=tmp_path / "study") as second:
        second.run(worth, 11, progress=False)
        assert [trial.parameters for trial in second.trials] == [trial.parameters for trial in whole.trials]


def test_when_everything_was_tried_it_still_proposes() -> None:
    tiny = Space({"a": Ordered((1, 2)), "b": Ordered((1, 2))})
    assert len(Study(tiny, sampler=BOSHNAS(first=2, starts=2, surrogate=SMALL.surrogate)).run(lambda v: v["a"], 6, progress=False).trials) == 6


def test_failed_and_infinite_trials_are_left_out() -> None:
    def sometimes(values: Values) -> float:
        return float("-inf") if values["op"] == "pool" else worth(values)

    study = Study(SPACE, sampler=SMALL).run(sometimes, 11, progress=False)
    assert np.isfinite(study.best.values[0])


def test_only_the_spread_counts_where_only_it_is_asked_for() -> None:
    """Uncertainty sampling moves away from what is known: its proposals lie further from tried ones than the bound's."""

    def gap(sampler: BOSHNAS) -> float:
        study = Study(SPACE, sampler=sampler, seed=5).run(worth, 16, progress=False)
        codes = [SPACE.encode(trial.parameters) for trial in study.trials]
        return float(np.mean([min(np.abs(codes[i] - code).sum() for code in codes[:i]) for i in range(9, 16)]))

    chances = {"first": 6, "starts": 4, "random": 0.0, "surrogate": SMALL.surrogate}
    assert gap(BOSHNAS(**chances, uncertain=1.0)) > gap(BOSHNAS(**chances, uncertain=0.0))  # type: ignore[arg-type]


def test_bad_settings() -> None:
    for wrong in (lambda: BOSHNAS(first=1), lambda: BOSHNAS(starts=0), lambda: BOSHNAS(uncertain=0.6, random=0.6), lambda: BOSHNAS(random=-0.1)):
        with pytest.raises(BadParameter, match="probabilities whose sum is at most 1"):
            wrong()
    with pytest.raises(BadParameter, match="one objective, found 2"):
        Study(SPACE, ("max", "min"), sampler=SMALL)
