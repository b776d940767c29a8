"""`loomweight inspect`: what a checkpoint holds."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from ..evaluate.survey import Facts, survey
from ..weights import load
from .app import app


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A checkpoint: file or folder.")],
    pattern: Annotated[str | None, typer.Option("--only", help="Only names that match, as in `*.mlp.*`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tensors, shapes, dtypes, bytes, NaN and Inf, norms.

    Example: `loomweight inspect ./my-model --only '*.layers.0.*'`
    """
    weights = load(path)
    facts = survey(weights.select(pattern) if pattern else weights)
    if as_json:
        typer.echo(json.dumps({"path": str(path), "bytes": weights.nbytes, "tensors": [asdict(fact) for fact in facts]}, indent=2))
        return
    table = Table(Column("tensor", overflow="fold"), "shape", "dtype", "bytes", "norm", "range", "to look at", title=repr(weights), title_justify="left")
    for fact in facts:
        table.add_row(fact.name, str(list(fact.shape)), fact.dtype, f"{fact.nbytes:,}", f"{fact.norm:.4g}", f"{fact.low:.3g} .. {fact.high:.3g}", _odd(fact))
    Console().print(table)


def _odd(fact: Facts) -> str:
    words = [f"{fact.nan} NaN"] * bool(fact.nan) + [f"{fact.inf} Inf"] * bool(fact.inf)
    words += ["all zero"] * (bool(fact.nbytes) and not fact.norm and not words)
    words += [f"shares {fact.shared_with}"] * bool(fact.shared_with)
    return ", ".join(words)
