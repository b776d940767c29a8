"""Tuning a recipe: it finds what is there to be found, goes on after an interrupt, and its answer is a recipe that merges."""

import json
from pathlib import Path

import pytest
import torch

import loomweight as lw
from loomweight.errors import BadParameter, RecipeError, UnknownName
from loomweight.merge.read import Draft
from loomweight.merge.run import run
from loomweight.merge.tune import Budget, load_evaluator, tune

pytest.importorskip("optuna", reason="the extra `search` is not installed")

TARGET = torch.tensor([0.3, 0.7])


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    """Two unit vectors whose weighted sum can be any point: the best weights are the target itself."""
    for i, name in enumerate("ab"):
        lw.save({"w": torch.eye(2)[i]}, tmp_path / f"{name}.safetensors")
    models = ", ".join(f"{{model: {tmp_path}/{name}.safetensors, parameters: {{weight: !search [0, 1]}}}}" for name in "ab")
    return Draft.of(f"merge_method: linear\nparameters: {{normalize: false}}\nmodels: [{models}]\n")


def distance(weights: lw.Weights) -> float:
    return float((weights["w"] - TARGET).norm())


def test_it_finds_the_weights_and_the_answer_merges(draft, tmp_path) -> None:
    found = tune(draft, distance, tmp_path / "search", {"distance": "min"}, Budget(trials=80))
    assert found.trials[0].values[0] < 0.05
    run(found.recipes[0], tmp_path / "out.safetensors")
    assert distance(lw.load(tmp_path / "out.safetensors")) == pytest.approx(found.trials[0].values[0], abs=1e-6)


def test_several_objectives_give_their_pareto_front(draft, tmp_path) -> None:
    """Being near one corner means being far from the other: no point of the front beats another in both."""
    corners = torch.eye(2)

    def both(weights: lw.Weights) -> dict[str, float]:
        return {name: float((weights["w"] - corner).norm()) for name, corner in zip(("left", "right"), corners, strict=True)}

    found = tune(draft, both, tmp_path / "search", {"left": "min", "right": "min"}, Budget(trials=40))
    values = [trial.values for trial in found.trials]
    assert len(values) > 2 and not any(a != b and a[0] <= b[0] and a[1] <= b[1] for a in values for b in values)
    assert [path.name for path in found.recipes] == [f"front-{i}.yaml" for i in range(len(values))]


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(draft, tmp_path) -> None:
    whole = tune(draft, distance, tmp_path / "whole", {"d": "min"}, Budget(trials=20))
    seen = 0

    def interrupted(weights: lw.Weights) -> float:
        nonlocal seen
        seen += 1
        if seen == 8:
            raise KeyboardInterrupt
        return distance(weights)

    with pytest.raises(KeyboardInterrupt):
        tune(draft, interrupted, tmp_path / "parts", {"d": "min"}, Budget(trials=20))
    again = tune(draft, distance, tmp_path / "parts", {"d": "min"}, Budget(trials=20))
    assert [t.values for t in again.trials] == [t.values for t in whole.trials]
    assert (tmp_path / "parts" / "trials.csv").read_text() == (tmp_path / "whole" / "trials.csv").read_text()


def test_nothing_to_search_and_evaluators_that_are_not_there(tmp_path, monkeypatch) -> None:
    with pytest.raises(RecipeError, match="there is nothing to search"):
        tune(Draft.of("merge_method: linear\nmodels: [{model: a}]"), distance, tmp_path, {"d": "min"}, Budget())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "judges_of_this_test.py").write_text("def accuracy(weights):\n    return 1.0\n")
    assert load_evaluator("judges_of_this_test:accuracy")(None) == 1
    with pytest.raises(UnknownName, match="nearest: 'accuracy'"):
        load_evaluator("judges_of_this_test:acuracy")
    with pytest.raises(UnknownName, match="nearest: 'judges_of_this_test'"):
        load_evaluator("judge_of_this_test:accuracy")
    with pytest.raises(BadParameter, match="module:function"):
        load_evaluator("judges")


def test_a_mistake_in_the_recipe_shows_before_anything_is_made(tmp_path) -> None:
    with pytest.raises(RecipeError, match="no merge method named 'lineer'"):
        tune(Draft.of("merge_method: lineer\nmodels: [{model: a, parameters: {weight: !search [0, 1]}}]"), distance, tmp_path / "s", {"d": "min"}, Budget())
    assert not (tmp_path / "s").exists()


def test_an_evaluator_with_too_few_numbers(draft, tmp_path) -> None:
    with pytest.raises(BadParameter, match="gave 'left'; there is no 'right'"):
        tune(draft, lambda w: {"left": 1.0}, tmp_path / "s", {"left": "min", "right": "min"}, Budget(trials=2))
    assert json.loads((tmp_path / "s" / "study.jsonl").read_text().splitlines()[0])["objectives"] == {"left": "min", "right": "min"}
