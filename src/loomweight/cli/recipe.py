"""`loomweight recipe`: look at a recipe without reading data."""

from pathlib import Path
from typing import Annotated

import typer

from ..merge.explain import explain as explained
from ..merge.read import read_recipes
from ..merge.run import plans
from ..merge.stages import STAGES
from .app import app

recipes = typer.Typer(help="Look at a recipe without reading data.", no_args_is_help=True)
app.add_typer(recipes, name="recipe")


@recipes.callback()
def options() -> None:
    """Look at a recipe without reading data."""


@recipes.command()
def explain(file: Annotated[Path, typer.Argument(help="A recipe.")]) -> None:
    """Print what will be done, tensor group by tensor group; only headers are read.

    Example: `loomweight recipe explain recipe.yaml`
    """
    typer.echo("\n\n".join(explained(plan) for plan in plans(read_recipes(file), STAGES)))
