"""`loomweight methods`: what there is."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from ..methods import catalog, find
from .app import app


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="One method, in full.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every method with its kind, what it does, its paper and what it needs.

    Example: `loomweight methods ties`
    """
    chosen = [find(name)] if name else catalog()
    if as_json:
        typer.echo(json.dumps([asdict(method) for method in chosen], indent=2))
        return
    if name:
        (method,) = chosen
        typer.echo(f"{method.name} ({method.package}, {method.kind})\n\n{method.doc}\n\nparameters: {', '.join(method.parameters) or 'none'}")
        if method.parts:
            typer.echo(f"with: {', '.join(method.parts)}")
        for paper in method.papers:
            typer.echo(f"paper: {paper.title} ({paper.year}) {paper.link}")
        return
    caption = f"{len(chosen)} methods; loomweight methods NAME tells more"
    table = Table(Column("method", overflow="fold"), "package", "kind", "what it does", "paper", "needs", caption=caption)
    for method in chosen:
        papers = "; ".join(f"{paper.title} ({paper.year})" for paper in method.papers)
        table.add_row(method.name, method.package, method.kind, method.summary, papers, ", ".join(method.needs))
    Console().print(table)
