"""The rounds of a run, a plain dictionary each, as numbers for a table, a file or a picture."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import OutputError

if TYPE_CHECKING:
    from rich.table import Table

Round = Mapping[str, Any]


def flat(row: Round) -> dict[str, Any]:
    """One level of names: a dictionary within becomes `outer.inner`, a list its length.

    >>> flat({"round": 3, "test": {"accuracy": 0.9}, "asked": ["a", "b"]})
    {'round': 3, 'test.accuracy': 0.9, 'asked': 2}
    """
    return dict(_pairs(row))


def _pairs(row: Round, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _pairs(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", len(value) if isinstance(value, list | tuple | set) else value


def columns(history: Sequence[Round]) -> list[str]:
    """Every name that some round has, in the order of first appearance."""
    return list(dict.fromkeys(name for row in history for name in flat(row)))


def totals(history: Sequence[Round]) -> dict[str, float]:
    """What adds up over the rounds: bytes each way, steps, clients asked, pooled, refused and lost.

    >>> totals([{"round": 0, "bytes_up": 10, "lost": {"died": 1}}, {"round": 1, "bytes_up": 30, "lost": {}}])
    {'bytes_up': 40, 'lost.died': 1}
    """
    adds = ("bytes_up", "bytes_down", "steps", "asked", "pooled", "refused", "lost")
    names = [name for name in columns(history) if name.partition(".")[0] in adds]
    rows = [flat(row) for row in history]
    return {name: sum(row.get(name) or 0 for row in rows) for name in names}


def history_table(history: Sequence[Round], most: int = 20) -> "Table":
    """A row for each round, with every number that changes; of many rounds the first and the last half of `most`.

    >>> from rich.console import Console
    >>> Console(width=60).print(history_table([{"round": 0, "loss": 2.302585, "bytes_up": 1200}, {"round": 1, "loss": 1.5}]))
      round    loss   bytes_up
     ──────────────────────────
          0   2.303      1,200
          1     1.5          -
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    names = columns(history)
    made = Table(*(Column(name, justify="right") for name in names), box=SIMPLE_HEAD)
    shown = list(history) if len(history) <= most else [*history[: most - most // 2], None, *history[len(history) - most // 2 :]]
    for row in shown:
        cells = ["..."] * len(names) if row is None else [_word(flat(row).get(name)) for name in names]
        made.add_row(*cells, style="dim" if row is None else None)
    return made


def _word(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def write_history(history: Sequence[Round], path: str | Path) -> Path:
    """Write the rounds as `.csv` (a column for each name, flat) or `.json` (a list of objects, as they are; NaN and Inf become null).

    Raises:
        OutputError: the name ends in neither, or the file cannot be written.
    """
    place = Path(path)
    if place.suffix not in (".csv", ".json"):
        raise OutputError(f"a history is written as .csv or .json, not as {place.name}.")
    text = _csv(history) if place.suffix == ".csv" else json.dumps([_finite(row) for row in history], indent=1, allow_nan=False) + "\n"
    part = place.with_name(f"{place.name}.part")
    try:
        part.write_text(text)
        part.replace(place)
    except OSError as error:
        raise OutputError(f"the history cannot be written to {place}: {error.strerror}.") from error
    return place


def _csv(history: Sequence[Round]) -> str:
    written = io.StringIO()
    table = csv.DictWriter(written, columns(history), lineterminator="\n")
    table.writeheader()
    table.writerows(flat(row) for row in history)
    return written.getvalue()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
