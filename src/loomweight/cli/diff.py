"""`loomweight diff`: how two checkpoints differ."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from ..evaluate.compare import Comparison, compare
from ..weights import load
from .app import app


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A checkpoint: file or folder.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Names, shapes, dtypes, distances and angles of two checkpoints; exits with 1 where they differ.

    Example: `loomweight diff ./base ./fine-tune`
    """
    found = compare(load(first), load(second))
    if as_json:
        typer.echo(json.dumps({"same": found.same, **asdict(found)}, indent=2))
    else:
        _show(found)
    if not found.same:
        raise typer.Exit(1)


def _show(found: Comparison) -> None:
    for side, names in (("first", found.only_first), ("second", found.only_second)):
        for name in names:
            typer.echo(f"only in the {side}: {name}")
    for name, before, after in found.reshaped:
        typer.echo(f"{name}: {before} in the first, {after} in the second")
    moved = [change for change in found.changes if not change.equal]
    typer.echo(f"{len(found.changes) - len(moved)} of {len(found.changes)} common tensors are equal to the bit")
    if moved:
        table = Table(Column("tensor", overflow="fold"), "|a - b| / |a|", "cosine", "largest change")
        for change in sorted(moved, key=lambda change: -change.distance):
            table.add_row(change.name, f"{change.distance:.3g}", f"{change.cosine:.6f}", f"{change.largest:.3g}")
        Console().print(table)
