"""Ask and tell: good at its job, honest about failures."""

from pathlib import Path

import pytest

from loomweight.errors import BadParameter, MissingExtra, NonFinite, UnknownName
from loomweight.search import Choice, Float, Int, Space, Study, Values

PLANE = Space({f"x{i}": Float(-1, 2) for i in range(3)})


def bowl(values: Values) -> float:
    return sum((x - 0.3) ** 2 for x in values.values())


def best_of(sampler: str, space: Space, trials: int, seed: int) -> float:
    return Study(space, ("min",), sampler=sampler, seed=seed).run(bowl, trials, progress=False).best.values[0]


def test_cmaes_finds_the_bottom_of_a_bowl_and_beats_random_draws() -> None:
    """150 trials in three dimensions: every coordinate within 0.1 of the minimum, on each of five seeds."""
    for seed in range(5):
        found = best_of("cmaes", PLANE, 150, seed)
        assert found < 0.1**2
        assert found < best_of("random", PLANE, 150, seed)


def test_cmaes_of_a_single_number_is_not_random() -> None:
    """Some versions of CMA-ES refuse one dimension and draw at random instead; the accuracy shows that this one does not."""
    line = Space({"weight": Float(-1, 2)})
    found = [best_of("cmaes", line, 60, seed) for seed in range(5)]
    assert max(found) < 1e-4
    assert sum(a < best_of("random", line, 60, seed) for seed, a in enumerate(found)) >= 4


def test_cmaes_moves_over_orders_of_magnitude_and_whole_numbers() -> None:
    from math import log10

    space = Space({"rate": Float(1e-6, 1, log=True), "layers": Int(1, 40)})
    study = Study(space, ("max",), sampler="cmaes", seed=0)
    study.run(lambda v: -((log10(v["rate"]) + 4) ** 2) - ((v["layers"] - 30) / 10) ** 2, 120, progress=False)
    assert abs(log10(study.best.parameters["rate"]) + 4) < 0.2
    assert abs(study.best.parameters["layers"] - 30) <= 1
    assert isinstance(study.best.parameters["layers"], int)


def two_bowls(values: Values) -> tuple[float, float]:
    return sum((x - 0.5) ** 2 for x in values.values()), sum((x + 0.5) ** 2 for x in values.values())


def covered(study: Study, corner: float = 20.0) -> float:
    """The area between the front of two minimized objectives and a far corner: a staircase."""
    points = sorted(trial.values for trial in study.front if max(trial.values) < corner)
    heights = [corner, *(y for _, y in points)]
    return sum((corner - x) * (heights[i] - y) for i, (x, y) in enumerate(points))


def test_samplers_of_several_objectives_cover_more_than_random_draws() -> None:
    space = Space({f"x{i}": Float(-3, 3) for i in range(4)})
    area: dict[str, list[float]] = {"random": [], "nsga2": [], "tpe": []}
    for sampler, areas in area.items():
        for seed in range(3):
            study = Study(space, ("min", "min"), sampler=sampler, seed=seed)
            areas.append(covered(study.run(two_bowls, 150, progress=False)))
    assert all(a < b for a, b in zip(area["random"], area["tpe"], strict=True))
    assert sum(area["random"]) < sum(area["nsga2"]) < sum(area["tpe"])
    with pytest.raises(BadParameter, match="2 objectives; use `front`"):
        _ = Study(space, ("min", "min")).best


def test_the_first_trials_are_the_given_ones() -> None:
    given = {"x0": 0, "x1": 1.5, "x2": -1}
    study = Study(PLANE, sampler="cmaes", first=[given])
    assert study.ask() == (0, given)
    with pytest.raises(BadParameter, match="x1 = 7 is not in"):
        Study(PLANE, first=[given | {"x1": 7}])


def test_another_seed_asks_for_other_values() -> None:
    asked = {Study(PLANE, sampler="cmaes", seed=seed).ask()[1]["x0"] for seed in range(4)}
    assert len(asked) == 4


def test_auto_takes_the_sampler_that_fits() -> None:
    mixed = Space({"weight": Float(0, 1), "method": Choice(("a", "b"))})
    assert Study(PLANE).sampler == "cmaes"
    assert Study(mixed).sampler == "tpe"
    assert Study(PLANE, ("max", "min")).sampler == "tpe"


def test_a_failing_trial_does_not_end_the_study() -> None:
    def sometimes(values: Values) -> float:
        if values["x0"] > 1:
            raise NonFinite("tensor 'w' holds NaN")
        return float("nan") if values["x0"] > 0.5 else bowl(values)

    study = Study(PLANE, ("min",), sampler="cmaes", seed=2).run(sometimes, 60, progress=False)
    failures = {trial.failure for trial in study.trials if trial.failure}
    assert len(study.trials) == 60
    assert failures == {"NonFinite: tensor 'w' holds NaN", "objective 'objective 1' is NaN"}
    assert study.best.values[0] < 0.05
    assert all(not trial.open for trial in study.trials)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2"])
def test_samplers_stay_away_from_what_fails(sampler: str) -> None:
    """A third of the space fails. Random draws keep failing there; a sampler that was told nothing of it would, too."""

    def partly(values: Values) -> float:
        if values["x0"] > 1:
            raise NonFinite("too far")
        return -((values["x1"] - 0.3) ** 2) - (values["x2"] - 0.3) ** 2

    late = {kind: Study(PLANE, sampler=kind, seed=0).run(partly, 120, progress=False).trials[60:] for kind in (sampler, "random")}
    failed = {kind: sum(bool(trial.failure) for trial in trials) for kind, trials in late.items()}
    assert failed["random"] >= 15  # a third of 60
    assert 2 * failed[sampler] < failed["random"]


def test_other_errors_stop_the_run_and_leave_the_trial_to_be_tried_again() -> None:
    study = Study(PLANE, ("min",), seed=0)
    with pytest.raises(ZeroDivisionError):
        study.run(lambda v: 1 / 0, 3, progress=False)
    left = study.trials[0]
    assert left.open
    assert study.ask() == (0, left.parameters)


def test_when_everything_failed_best_says_why() -> None:
    study = Study(PLANE)
    study.fail(study.ask()[0], "the model did not load")
    with pytest.raises(BadParameter, match=r"no trial has finished yet \(1 failed, the last: the model did not load\)"):
        _ = study.best


def test_best_is_the_earliest_of_equals_and_front_keeps_them_all() -> None:
    study = Study(PLANE, {"accuracy": "max"})
    for value in (1.0, 3.0, 3.0, 2.0):
        study.tell(study.ask()[0], value)
    assert study.best.number == 1
    assert [trial.number for trial in study.front] == [1, 2]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Study(PLANE, ("up",)), "'max' or 'min'"),
        (lambda: Study(PLANE, ()), "at least one"),
        (lambda: Study(PLANE, ("max", "max"), sampler="cmaes"), "cmaes searches one objective, found 2"),
        (lambda: Study(Space({"m": Choice((1, 2))}), sampler="cmaes"), "would draw the choice 'm' at random; use tpe"),
        (lambda: Study(PLANE, population=1), "at least 2 members"),
        (lambda: Study(PLANE).tell(0, 1.0), "trial 0 is not open"),
        (lambda: Study(PLANE).tell(0, (1.0, 2.0)), r"told 1 numbers \(objective 1\), found \[1.0, 2.0\]"),
        (lambda: Study(PLANE).tell(0, "good"), "told numbers, found 'good'"),
    ],
)
def test_bad_calls(make: "type[Study]", words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        make()


def test_an_unknown_sampler_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="nearest: 'cmaes'"):
        Study(PLANE, sampler="cmae")


def test_told_twice_is_refused() -> None:
    study = Study(PLANE)
    number, _ = study.ask()
    study.tell(number, 1.0)
    with pytest.raises(BadParameter, match="told already"):
        study.tell(number, 2.0)
    assert study.trials[0].values == (1.0,)


def test_optuna_stays_quiet_and_keeps_its_settings(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    Study(Space({"n": Int(0, 9), "x": Float(0, 1)}), seed=0).run(lambda v: v["x"], 12)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert optuna.logging.get_verbosity() == before


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"pip install 'loomweight\[search\]'"):
        Study(PLANE)


@pytest.mark.parametrize(("objectives", "suffix"), [({"accuracy": "max"}, "png"), ({"a": "max", "b": "min"}, "svg")])
def test_the_picture(tmp_path: Path, objectives: dict[str, str], suffix: str) -> None:
    space = Space({"weight": Float(0, 1), "rate": Float(1e-3, 1, log=True), "method": Choice(("ties", "linear"))})
    study = Study(space, objectives, seed=1)
    path = tmp_path / f"study.{suffix}"
    with pytest.raises(BadParameter, match="no trial has finished"):
        study.plot(path)
    study.run(lambda v: [v["weight"], v["rate"]][: len(objectives)], 8, progress=False)
    assert study.plot(path) == path
    assert path.stat().st_size > 5000
