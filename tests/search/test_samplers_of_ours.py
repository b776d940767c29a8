"""Regularised evolution, local mutation and the nested bandit: their mechanisms, and what they find in NAS-Bench-201."""

from math import log, sqrt
from pathlib import Path

import numpy as np
import pytest

from loomweight.errors import BadParameter, BrokenFile
from loomweight.search import Choice, Float, LocalMutation, NestedBandit, Ordered, Past, RegularisedEvolution, Sampler, Space, Study, Trial, Values
from tests.search.networks import CELL, NET, after_12_epochs, after_200_epochs, apart, size, table

DIGITS = Space({f"x{i}": Ordered(tuple(range(8))) for i in range(6)})


def total(values: Values) -> float:
    return float(sum(values.values()))


def found(sampler: str | Sampler, trials: int, seeds: int) -> list[float]:
    """Accuracy after 200 epochs of what a search by 12 epochs' validation takes for the best."""
    studies = (Study(CELL, sampler=sampler, seed=seed).run(after_12_epochs, trials, progress=False) for seed in range(seeds))
    return [after_200_epochs(study.best.parameters) for study in studies]


def by_chance(trials: int, seeds: int) -> list[float]:
    rows = np.array(list(table().values()))
    draws = [rows[np.random.default_rng(seed).integers(len(rows), size=trials)] for seed in range(seeds)]
    return [float(drawn[drawn[:, 0].argmax(), 1]) for drawn in draws]


def test_evolution_finds_in_200_trials_what_it_is_known_to_find_and_chance_does_not() -> None:
    """An independent program over 300 seeds: chance 93.87, evolution (20, 5) 94.22; one seed's spread is 0.21, so 30 have 0.04, three of them are allowed."""
    chance, evolved = np.mean(by_chance(200, 300)), np.mean(found(RegularisedEvolution(20, 5), 200, 30))
    assert chance == pytest.approx(93.87, abs=0.05)  # 300 seeds: a standard error of 0.016, three are allowed
    assert evolved == pytest.approx(94.22, abs=0.12)  # 30 seeds: a standard error of 0.04, three are allowed


@pytest.mark.parametrize("sampler", ["mutation", "bandit"])
def test_the_others_beat_chance_at_50_trials(sampler: str) -> None:
    """Two standard errors of the difference apart; chance finds 93.50 in 50 trials."""
    chance, ours = by_chance(50, 300), found(sampler, 50, 60)
    error = sqrt(np.var(chance) / len(chance) + np.var(ours) / len(ours))
    assert np.mean(ours) > np.mean(chance) + 2 * error


def past(space: Space, trials: list[tuple[Values, float]], seed: int = 0) -> Past:
    return Past(space, ("max",), tuple(Trial(i, values, (value,)) for i, (values, value) in enumerate(trials)), np.random.default_rng(seed))


def test_the_oldest_dies_however_good_it_was() -> None:
    """The best of all is the oldest; with a sample that surely holds every living one, the parent is the best of the living."""
    star, second = {f"x{i}": 7 for i in range(6)}, {f"x{i}": 0 for i in range(6)}
    others = [{f"x{i}": 3 for i in range(6)}] * 9
    history = [(star, 100.0), *((values, 0.0) for values in others), (second, 50.0)]
    for seed in range(20):
        aged = RegularisedEvolution(population=10, sample=200).propose(past(DIGITS, history, seed))
        kept = RegularisedEvolution(population=10, sample=200, aging=False).propose(past(DIGITS, history, seed))
        assert (apart(aged, second), apart(kept, star)) == (1, 1)


def test_a_larger_sample_is_greedier() -> None:
    """The parent's expected rank is that of the best of S draws from P, P - sum_k (k / P)^S for k < P, counted from the worst as 1."""
    people = [({f"x{j}": (i // 8**j) % 8 for j in range(6)}, float(i)) for i in range(0, 8**6, 8**6 // 16)][:16]
    ranks = {tuple(values.values()): i for i, (values, _) in enumerate(people, 1)}

    def parent(sample: int, seed: int) -> int:
        child = RegularisedEvolution(16, sample).propose(past(DIGITS, people, seed))
        near = [rank for values, rank in ranks.items() if sum(a != b for a, b in zip(values, child.values(), strict=True)) <= 1]
        return near[0] if len(near) == 1 else 0

    for sample in (1, 5):
        drawn = [rank for seed in range(600) if (rank := parent(sample, seed))]
        expected = 16 - sum((k / 16) ** sample for k in range(1, 16))
        assert np.mean(drawn) == pytest.approx(expected, abs=4 * np.std(drawn) / sqrt(len(drawn)))  # four standard errors


def test_mutation_tries_each_neighbour_of_the_incumbent_once() -> None:
    study = Study(NET, sampler=LocalMutation(start=5), seed=3).run(size, 40, progress=False)
    seen: set[str] = set()
    for trial in study.trials[5:]:
        incumbent = max(study.trials[: trial.number], key=lambda before: before.values[0])
        neighbours = [values for values in NET.enumerate() if apart(values, incumbent.parameters) == 1]
        tried = [before.parameters for before in study.trials[: trial.number]]
        if any(values not in tried for values in neighbours if values["depth"] == incumbent.parameters["depth"]):
            assert trial.parameters not in tried
        seen.add(str(trial.parameters))
    assert len(seen) > 30
    assert study.best.values[0] == max(map(size, NET.enumerate()))


def test_the_bandit_fixes_fields_one_after_another_at_the_best_of_the_pass() -> None:
    """Its first pass on three fields of 4, 3 and 2 options is 9 trials: options in their order, the others fixed at the best so far."""
    space = Space({"a": Ordered((1, 2, 3, 4)), "b": Choice(("x", "y", "z")), "c": Choice(("on", "off"))})
    worth = {1: 0, 2: 5, 3: 9, 4: 2, "x": 1, "y": 3, "z": 0, "on": 0.5, "off": 0}
    study = Study(space, sampler="bandit", seed=1).run(lambda v: sum(worth[x] for x in v.values()), 12, progress=False)
    rows = [trial.parameters for trial in study.trials]

    def best(n: int) -> Values:
        return max(study.trials[:n], key=lambda trial: trial.values[0]).parameters

    assert [row["a"] for row in rows[:4]] == [1, 2, 3, 4]
    assert [(row["a"], row["b"]) for row in rows[4:7]] == [(best(4)["a"], option) for option in "xyz"]
    assert [tuple(row.values()) for row in rows[7:9]] == [(best(7)["a"], best(7)["b"], option) for option in ("on", "off")]
    assert [row["a"] for row in rows[9:12]] == [1, 2, 3]


def test_playouts_take_the_option_with_the_largest_upper_bound() -> None:
    """UCB1 by a second formula, on a past of two passes with unequal counts: the field at hand is `a`, the playout chooses `b`."""
    space = Space({"a": Ordered((0, 1)), "b": Choice(("x", "y", "z"))})
    rewards = {"x": [0.5, 0.7, 0.6, 0.6], "y": [1.0, 0.0, 0.9, 0.8, 0.7], "z": [0.65]}
    rows = [({"a": 0, "b": option}, value) for option, values in rewards.items() for value in values]
    for width in (0.0, 0.1, 0.3, 1.0):
        bounds = {option: np.mean(values) + width * sqrt(2 * log(10) / len(values)) for option, values in rewards.items()}
        proposed = NestedBandit(explore=0, width=width).propose(past(space, rows))
        assert proposed["b"] == max(bounds, key=lambda option: bounds[option])


@pytest.mark.parametrize("sampler", ["evolution", "mutation", "bandit", "emars"])
@pytest.mark.parametrize("at_once", [1, 4])
def test_cut_anywhere_it_asks_the_same(tmp_path: Path, sampler: str, at_once: int) -> None:
    """The file cut after any entry or within one: the rest of the study is the same, also with four trials open at once."""

    def study(name: str, trials: int) -> Study:
        with Study(NET, ("min",), sampler=sampler, seed=5, storage=tmp_path / name) as running:
            return running.run(lambda v: abs(size(v) - 70), trials, progress=False, at_once=at_once)

    truth = study("whole", 44).trials
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    for cut in (1, 1 + 2 * at_once * 5, 1 + 2 * at_once * 8):
        (tmp_path / "cut").write_bytes(b"".join(lines[:cut]) + lines[cut][:-7])
        again = study("cut", 44)
        assert again.trials == truth
        (tmp_path / "cut").unlink()
    other = Study(NET, ("min",), sampler=sampler, seed=6).run(lambda v: abs(size(v) - 70), 44, progress=False, at_once=at_once)
    assert other.trials != truth


@pytest.mark.parametrize("sampler", ["evolution", "mutation", "bandit", "emars", "tpe", "nsga2"])
def test_fields_that_do_not_matter_have_one_value(sampler: str) -> None:
    study = Study(NET, sampler=sampler, seed=0).run(size, 60, progress=False)
    assert all(NET.canonical(trial.parameters) == trial.parameters for trial in study.trials)
    assert {trial.parameters["depth"] for trial in study.trials} == {1, 2, 3}


def test_another_setting_of_a_sampler_is_another_study(tmp_path: Path) -> None:
    Study(NET, sampler=RegularisedEvolution(10, 3), storage=tmp_path / "s").close()
    with pytest.raises(BadParameter, match=r"its sampler is 'RegularisedEvolution\(population=10, sample=3, aging=True\)', not 'Reg.*sample=4"):
        Study(NET, sampler=RegularisedEvolution(10, 4), storage=tmp_path / "s")


def test_another_space_is_another_study(tmp_path: Path) -> None:
    """The same fields and options, but what depends on what differs."""
    Study(NET, sampler="evolution", storage=tmp_path / "s").close()
    with pytest.raises(BadParameter, match="holds another study: its space is"):
        Study(Space(NET.dimensions), sampler="evolution", storage=tmp_path / "s")


def test_told_values_that_do_not_fit_are_a_broken_file(tmp_path: Path) -> None:
    with Study(NET, sampler="evolution", storage=tmp_path / "s") as study:
        study.run(size, 3, progress=False)
    lines = (tmp_path / "s").read_text().splitlines()
    (tmp_path / "s").write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(BrokenFile, match="line 8: this does not follow"):
        Study(NET, sampler="evolution", storage=tmp_path / "s")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Study(NET, ("max", "min"), sampler="evolution"), r"RegularisedEvolution\(.*\) searches one objective, found 2; use nsga2"),
        (lambda: Study(Space({"x": Float(0, 1)}), sampler="bandit"), "chooses among options, but 'x' is Float"),
        (lambda: Study(NET, sampler="mutation", population=9), "mutation has no population"),
        (lambda: Study(NET, sampler=LocalMutation(), population=9), "says its own population"),
        (lambda: RegularisedEvolution(population=1), "at least 2"),
        (lambda: RegularisedEvolution(sample=0), "at least 1"),
        (lambda: LocalMutation(start=0), "at least 1 random"),
        (lambda: NestedBandit(explore=2), r"`explore` in \[0, 1\]"),
        (lambda: Study(NET).run(size, 2, at_once=0), "at least 1 trial"),
    ],
)
def test_what_is_refused(call: "type[Study]", words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        call()
