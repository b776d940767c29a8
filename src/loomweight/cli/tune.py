"""`loomweight tune`: search a recipe's free numbers."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..engines import engine_named
from ..errors import BadParameter
from ..merge.read import read_draft
from ..merge.stages import STAGES
from ..merge.tune import Found, load_evaluator, space_of
from ..merge.tune import tune as search
from ..search import Budget, Study
from .app import app


@app.command()
def tune(
    recipe: Annotated[Path, typer.Argument(help="A recipe with `!search [low, high]` in the place of some numbers.")],
    out: Annotated[Path, typer.Argument(help="Folder for the study, the recipes found, a table and a picture; an interrupted search goes on there.")],
    evaluator: Annotated[str, typer.Option("--eval", help="module:function, given the merged weights.")],
    trials: Annotated[int, typer.Option(min=1, help="How many merges to try, earlier runs on the same folder counted.")] = 50,
    objective: Annotated[list[str] | None, typer.Option(help="max or min, or NAME=max; once for each number that the function returns.")] = None,
    sampler: Annotated[str, typer.Option(help="auto, cmaes, tpe, random, nsga2, evolution, mutation or bandit.")] = "auto",
    seed: Annotated[int, typer.Option(help="The same seed, engine and number of workers try the same.")] = 0,
    engine: Annotated[str, typer.Option(help="inline, threads:N or ray:N: where merges are judged, N at once.")] = "inline",
) -> None:
    """Search the numbers of a recipe for the best merge, or for a Pareto front.

    Example: `loomweight tune recipe.yaml ./search --eval judge:accuracy --trials 60`
    """
    goals = _objectives(objective or ["max"])
    draft = read_draft(recipe)
    found = search(draft, load_evaluator(evaluator), out, goals, Budget(trials, sampler, seed), STAGES, engine_named(engine))
    _show(found, goals)
    with Study(space_of(draft), goals, sampler=sampler, seed=seed, storage=found.study) as study:
        typer.echo(f"picture: {study.plot(out / 'search.png')}")


def _objectives(words: list[str]) -> dict[str, str]:
    goals = {}
    for number, word in enumerate(words, 1):
        name, equals, direction = word.partition("=")
        goals[name if equals else f"objective {number}"] = direction if equals else word
    if len(goals) < len(words) or any(direction not in ("max", "min") for direction in goals.values()):
        raise BadParameter(f"an objective is max or min, or NAME=max or NAME=min, each name once; found {', '.join(words)}.")
    return goals


def _show(found: Found, goals: dict[str, str]) -> None:
    table = Table("recipe", "trial", *goals, title=f"{len(found.trials)} on the front" if len(goals) > 1 else "the best merge")
    for path, trial in zip(found.recipes, found.trials, strict=True):
        table.add_row(str(path), str(trial.number), *(f"{value:.6g}" for value in trial.values))
    Console().print(table)
