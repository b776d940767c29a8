"""`loomweight axes`: which axes of which tensors carry the same units."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadParameter, OutputError
from ..merge.alignment import How
from ..merge.coordinates import Coordinates, Side
from ..weights import config_of, load
from ..weights.axes import Axes, verify
from .app import app
from .model import ExampleOption, ModelArgument, TableOption


@app.command()
def axes(
    model: ModelArgument = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint: its family's table, by its config.json; with MODEL or --table, must fit.")] = None,
    table: TableOption = None,
    example: ExampleOption = None,
    prove: Annotated[bool, typer.Option("--verify", help="Exchange the units of MODEL at random and compare its outputs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the table to this file too.")] = None,
) -> None:
    """Print the table of a model, or of a checkpoint: what can be permuted, sliced, widened without changing the function.

    Example: `loomweight axes models:mlp --example models:inputs --verify`
    """
    if not model and not checkpoint:
        raise BadParameter("name a model (module:factory, or a Transformers config), or a checkpoint with --checkpoint.")
    if prove and not model:
        raise BadParameter("--verify runs a model; name one: module:factory, or a Transformers config.")
    if out and out.exists():
        raise OutputError(f"{out} exists; name another file.")
    how = Coordinates(How(model=model, table=table, example=example))
    found = _of_checkpoint(how, checkpoint) if checkpoint else _of_model(how)
    typer.echo(str(found))
    if prove:
        _prove(how, found)
    if out:
        _write(out, found)


def _of_checkpoint(how: Coordinates, checkpoint: Path) -> Axes:
    return how.table(Side(load(checkpoint), config_of(checkpoint)))


def _of_model(how: Coordinates) -> Axes:
    from ..weights import from_module

    return how.table(Side(from_module(how.network.model))) if how.how.table else how.traced


def _prove(how: Coordinates, found: Axes) -> None:
    moved = verify(found, how.network.model, how.network.example)
    worst = max(moved.values())
    scaled = ", and scaled where they scale," if "all scaled" in moved else ""
    typer.secho(
        f"verified: {len(found.spaces)} spaces, each in a random order and all together{scaled} move the outputs by at most {worst:.1g}", fg="green", err=True
    )


def _write(out: Path, found: Axes) -> None:
    try:
        out.write_text(f"{found}\n", "utf-8")
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}.") from error
    typer.echo(f"table: {out}", err=True)
