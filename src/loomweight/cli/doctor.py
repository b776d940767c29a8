"""`loomweight doctor`: is this checkpoint whole and safe?"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..evaluate.doctor import examine
from .app import app

_MARK = {"fine": ("ok  ", "green"), "odd": ("look", "yellow"), "bad": ("BAD ", "red")}


@app.command()
def doctor(
    path: Annotated[Path, typer.Argument(help="A checkpoint: file or folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that a checkpoint is whole and safe; exits with 1 where it is not.

    Example: `loomweight doctor ./my-model`
    """
    findings = examine(path)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark, color = _MARK[finding.grade]
            typer.secho(mark, fg=color, nl=False)
            typer.echo(f"  {finding.what}")
    if any(finding.grade == "bad" for finding in findings):
        raise typer.Exit(1)
