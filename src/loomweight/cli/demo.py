"""`loomweight demo`: see it work, offline."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..demo import align_station, draw, federate_station, rules_station, supernet_station, train_zoo, trajectory_station
from .app import app


@app.command()
def demo(
    picture: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("loomweight-demo.png"),
    seed: Annotated[int, typer.Option(help="Another seed, other models.")] = 0,
) -> None:
    """Train small digit classifiers and show what merging, alignment, averages along a run, a supernet and a federation make of them: one table, one picture.

    Example: `loomweight demo`
    """
    zoo = train_zoo(seed)
    supernet = supernet_station(zoo)
    rows = [*rules_station(zoo), *align_station(zoo), *trajectory_station(zoo), *supernet.rows, *federate_station(zoo)]
    table = Table("what", "accuracy", "loss", "", title="scikit-learn's digits, 397 of them held out for this table", title_justify="left")
    for row in rows:
        table.add_row(row.name, f"{row.accuracy:.1%}", f"{row.loss:.3f}", row.remark)
    Console().print(table)
    typer.echo(f"picture: {draw(rows, picture, supernet.points)}")
