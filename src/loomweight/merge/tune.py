"""Search a recipe's free numbers by what comes out: `!search [0, 1]` in the YAML, a function that judges weights.

Papers: Evolutionary Optimization of Model Merging Recipes (2024, https://arxiv.org/abs/2403.13187); If You Can't Use Them,
Recycle Them: Optimizing Merging at Scale Mitigates Performance Tradeoffs (2024, https://arxiv.org/abs/2412.04144); Rewarded
soups: towards Pareto-optimal alignment by interpolating weights fine-tuned on diverse rewards (2023,
https://arxiv.org/abs/2306.04488): with several objectives the front is what a preference chooses from.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..engines import Engine
from ..errors import BadParameter, OutputError, RecipeError
from ..search import Budget, Choice, Dimension, Float, Int, Space, Study, Trial
from ..weights import Weights
from .marks import Item, Search
from .named import named
from .read import Draft
from .run import Stages, plans

#: what judges a merged model: a number, or one for each objective
Evaluator = Callable[[Weights], float | Sequence[float] | Mapping[str, float]]


@dataclass(frozen=True)
class Found:
    """What a search has found: the trials on the front (one, if there is one objective) and the files that tell of them."""

    trials: tuple[Trial, ...]
    recipes: tuple[Path, ...]
    study: Path


def tune(
    draft: Draft,
    evaluate: Evaluator,
    out: Path,
    objectives: Mapping[str, str],
    budget: Budget,
    stages: Stages | None = None,
    engine: Engine | None = None,
) -> Found:
    """Search the recipe's `!search` marks; nothing but the answer is written.

    `out/study.jsonl` remembers every trial: an interrupted search goes on from it. Afterwards `out` holds `best.yaml` or
    `front-0.yaml` .., plain recipes that `loomweight merge` takes, and `trials.csv`.

    Args:
        evaluate: gets the merged weights, lazy: what it does not read is not computed.
        objectives: name -> "max" or "min"; an evaluator that returns a mapping uses these names.

        engine: where merges are judged, several at once; None judges them here, one by one.

    Raises:
        RecipeError: the recipe has no `!search` mark, or does not fit its models.
        BadParameter: the evaluator returns other than one number for each objective.
    """
    space = space_of(draft)
    stages = stages or Stages()

    def judge(values: Mapping[str, Any]) -> Sequence[float]:
        told = evaluate(plans(draft.recipes(values), stages)[-1].promised())
        return _row(told, tuple(objectives))

    plans(draft.recipes({path: _middle(mark) for path, mark in draft.searches.items()}), stages)  # a mistake shows before anything is made
    out.mkdir(parents=True, exist_ok=True)
    with Study(space, objectives, sampler=budget.sampler, seed=budget.seed, storage=out / "study.jsonl") as study:
        try:
            study.run(judge, budget.trials, engine=engine, at_once=budget.at_once)
        except _UselessError as error:
            raise BadParameter(str(error)) from None
        chosen = (study.best,) if len(objectives) == 1 else study.front
        _table(out / "trials.csv", space, objectives, study.trials)
    names = ["best.yaml"] if len(objectives) == 1 else [f"front-{i}.yaml" for i in range(len(chosen))]
    recipes = tuple(_written(out / name, draft, trial) for name, trial in zip(names, chosen, strict=True))
    return Found(chosen, recipes, out / "study.jsonl")


def space_of(draft: Draft) -> Space:
    """The search space that a draft's marks make up.

    >>> space_of(Draft.of("merge_method: linear\\nmodels: [{model: a, parameters: {weight: !search [0, 2]}}]")).dimensions
    mappingproxy({'models[0].parameters.weight': Float(low=0, high=2, log=False)})
    """
    if not draft.searches:
        raise RecipeError("there is nothing to search: put `!search [low, high]` in the place of a number of the recipe.")
    return Space({path: _dimension(mark) for path, mark in draft.searches.items()})


def load_evaluator(name: str) -> Evaluator:
    """The function that `module:function` names; modules of the working folder count.

    Raises:
        UnknownName: no such module or function.
        BadParameter: the name has no colon, or names something that cannot be called.
    """
    found = named(name, "an evaluator")
    if not callable(found):
        raise BadParameter(f"{name} is a {type(found).__name__}, not a function of weights.")
    return found  # type: ignore[return-value]  # what it returns is checked when it is called


def _middle(mark: Search) -> Any:
    """A value that a mark allows, for a first look at the recipe."""
    if mark.choice:
        return mark.choice[0]
    return int((mark.low + mark.high) // 2) if mark.whole else (mark.low + mark.high) / 2


def _dimension(mark: Search) -> Dimension:
    if mark.choice:
        return Choice(mark.choice)
    return Int(mark.low, mark.high, mark.log) if mark.whole else Float(mark.low, mark.high, mark.log)


class _UselessError(Exception):
    """The evaluator does not give what was asked for: no trial can succeed, so the search stops."""


def _row(told: object, objectives: tuple[str, ...]) -> Sequence[float]:
    if isinstance(told, Mapping):
        if lacking := [name for name in objectives if name not in told]:
            raise _UselessError(f"the evaluator gave {', '.join(map(repr, told))}; there is no {lacking[0]!r} among them.")
        return [float(told[name]) for name in objectives]
    row = [float(value) for value in told] if isinstance(told, Sequence) else [float(told)]  # type: ignore[arg-type]
    if len(row) != len(objectives):
        raise _UselessError(f"the evaluator gave {len(row)} numbers for {len(objectives)} objectives ({', '.join(objectives)}); name them with --objective.")
    return row


def _written(path: Path, draft: Draft, trial: Trial) -> Path:
    def fill(at: str, item: Item) -> Item:
        return replace(item, value=trial.parameters[at]) if isinstance(item.value, Search) else item

    several = len(draft.items) > 1
    documents = [item.changed(fill, str(i) if several else "").plain() for i, item in enumerate(draft.items)]
    head = f"# trial {trial.number} of a search: {', '.join(f'{value:.6g}' for value in trial.values)}\n"
    _replace(path, head + yaml.safe_dump_all(documents, sort_keys=False))
    return path


def _table(path: Path, space: Space, objectives: Mapping[str, str], trials: Sequence[Trial]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", *space.names, *objectives, "failure"])
    for trial in trials:
        values = trial.values or ("",) * len(objectives)
        writer.writerow([trial.number, *(trial.parameters[name] for name in space.names), *values, trial.failure])
    _replace(path, text.getvalue())


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(text)
        fresh.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
