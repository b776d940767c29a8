"""`loomweight repo`: a base that many contributors improve (ColD fusion)."""

from pathlib import Path
from typing import Annotated

import typer

from ..merge.repo import Repository, plain_rule
from .app import app

repo = typer.Typer(help="A base that many contributors improve: init, contribute, fuse, and again.", no_args_is_help=True)
app.add_typer(repo, name="repo")

Folder = Annotated[Path, typer.Argument(help="The repository.")]


@repo.command()
def init(folder: Folder, base: Annotated[Path, typer.Argument(help="The pretrained checkpoint to start from.")]) -> None:
    """Start a repository.

    Example: `loomweight repo init ./repo ./pretrained`
    """
    made = Repository.init(folder, base)
    typer.echo(f"{made.path}: round {made.round} is open; fine-tune {made.base}")


@repo.command()
def contribute(
    folder: Folder,
    checkpoint: Annotated[Path, typer.Argument(help="A fine-tune of the current base.")],
    name: Annotated[str, typer.Option(help="Who or what it is.")],
    started: Annotated[int | None, typer.Option(help="The round whose base it was fine-tuned from.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Names that are no part of the base, as in `classifier.*`; may be given several times.")] = None,
) -> None:
    """Add a fine-tune to the current round.

    Example: `loomweight repo contribute ./repo ./my-fine-tune --name ann`
    """
    path = Repository.open(folder).contribute(checkpoint, name, started=started, drop=drop or ())
    typer.echo(f"{path}")


@repo.command()
def fuse(
    folder: Folder,
    method: Annotated[str, typer.Option(help="A rule that needs no parameters, as in `mean` or `median`.")] = "mean",
) -> None:
    """Fuse the round's contributions into the next base.

    Example: `loomweight repo fuse ./repo`
    """
    found = Repository.open(folder)
    count = len(found.contributions)
    found.fuse(plain_rule(method))
    typer.echo(f"{count} contributions fused; round {found.round} is open; fine-tune {found.base}")


@repo.command()
def status(folder: Folder) -> None:
    """Say which round is open and who has contributed.

    Example: `loomweight repo status ./repo`
    """
    found = Repository.open(folder)
    typer.echo(f"round {found.round}; base {found.base}; contributions: {', '.join(path.name for path in found.contributions) or 'none'}")
