"""The rounds of a run, a plain dictionary each, as numbers for a table, a file or a picture."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import OutputError

if TYPE_CHECKING:
    from rich.table import Table

Round = Mapping[str, Any]
#: what adds up over the rounds; the rest are states and means
ADDS = ("asked", "pooled", "refused", "skipped", "bytes_up", "bytes_down")
#: what a round's line says of itself, beside numbers of the model
OF_THE_ROUND = (*ADDS, "round", "who", "time", "steps")


def flat(row: Round) -> dict[str, Any]:
    """One level of names: numbers by name become `outer.inner`, words by name one word.

    >>> flat({"round": 3, "refused": {"died": 2}, "who": {"a": "died", "c": "died"}})
    {'round': 3, 'refused.died': 2, 'who': 'a: died; c: died'}
    """
    return dict(_pairs(row))


def _pairs(row: Round) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if not isinstance(value, Mapping):
            yield name, value
        elif any(isinstance(inner, str) for inner in value.values()):
            yield name, "; ".join(f"{key}: {word}" for key, word in value.items())
        else:
            yield from ((f"{name}.{key}", number) for key, number in value.items())


def columns(history: Sequence[Round]) -> list[str]:
    """Every name that some round has, in the order of first appearance."""
    return list(dict.fromkeys(name for row in history for name in flat(row)))


def totals(history: Sequence[Round]) -> dict[str, int]:
    """What adds up over the rounds: clients asked and replies pooled, refused (by code), rounds skipped, bytes each way.

    >>> totals([{"round": 0, "bytes_up": 10, "refused": {"died": 1}}, {"round": 1, "bytes_up": 30, "refused": {}}])
    {'bytes_up': 40, 'refused.died': 1}
    """
    rows = [flat(row) for row in history]
    return {name: sum(int(row.get(name, 0)) for row in rows) for name in columns(history) if name.partition(".")[0] in ADDS}


def history_table(history: Sequence[Round], most: int = 20) -> "Table":
    """A row for each round, a column for each number that is not 0 throughout; of many rounds the first and the last half of `most`.

    >>> from rich.console import Console
    >>> Console(width=60).print(history_table([{"round": 0, "loss": 2.302585, "bytes_up": 1200}, {"round": 1, "loss": 1.5}]))
      round    loss   bytes_up
     ──────────────────────────
          0   2.303      1,200
          1     1.5          -
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    names = [name for name in columns(history) if name != "who" and (name == "round" or any(flat(row).get(name) for row in history))]
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
    text = _csv(history) if place.suffix == ".csv" else _json(history)
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


def _json(history: Sequence[Round]) -> str:
    finite = json.loads(json.dumps(list(history)), parse_constant=lambda word: None)
    return json.dumps(finite, indent=1, allow_nan=False) + "\n"
