"""A run at a glance: quality, bytes, and who answered, over the rounds."""

from collections.abc import Sequence
from itertools import accumulate, cycle
from pathlib import Path
from typing import Any

from .drawing import BLUE, COLORS, ORANGE, sheet, written
from .history import OF_THE_ROUND, Round, columns, flat


def history_picture(history: Sequence[Round], path: str | Path, quality: Sequence[str] | None = None) -> Path:
    """Three panels: the numbers of the model, bytes so far each way, and replies pooled and refused, by reason; a `.png`, `.svg` or `.pdf`.

    Args:
        history: a dictionary for each round, as `Federation.history` has them; what it lacks is not drawn.
        path: where the picture goes.
        quality: which numbers the first panel shows; None: the loss, those of the test, and what the aggregate has noted.

    Raises:
        OutputError, MissingExtra: it cannot be written, or matplotlib is not installed.

    >>> import pathlib, tempfile
    >>> rounds = [{"round": i, "loss": 2 / (i + 1), "bytes_up": 100, "pooled": 9, "refused": {"late": 1}} for i in range(20)]
    >>> history_picture(rounds, pathlib.Path(tempfile.mkdtemp()) / "run.png").name
    'run.png'
    """
    place = Path(path)
    figure = sheet(place, 13.0, 3.8)
    rows = [flat(row) for row in history]
    names = [name for name in columns(history) if name.partition(".")[0] not in OF_THE_ROUND]
    numbers = [row.get("round", i) for i, row in enumerate(rows)]
    numbers_of_model, traffic, replies = figure.subplots(1, 3)
    for panel in (numbers_of_model, traffic, replies):
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlabel("round")
    _quality(numbers_of_model, names if quality is None else quality, rows, numbers)
    _traffic(traffic, rows, numbers)
    _replies(replies, [name for name in columns(history) if name.startswith("refused.")], rows, numbers)
    return written(figure, place)


def _quality(panel: Any, names: Sequence[str], rows: list[dict[str, Any]], numbers: list[int]) -> None:
    for name, color in zip(names, cycle(COLORS), strict=False):
        there = [(at, row[name]) for at, row in zip(numbers, rows, strict=True) if isinstance(row.get(name), int | float)]
        if there:
            panel.plot(*zip(*there, strict=True), color=color, label=name, marker="o" if len(there) < 30 else None, ms=3)
    _finish(panel, "Quality")


def _traffic(panel: Any, rows: list[dict[str, Any]], numbers: list[int]) -> None:
    for name, color in (("bytes_down", BLUE), ("bytes_up", ORANGE)):
        if any(name in row for row in rows):
            panel.plot(numbers, [total / 1e6 for total in accumulate(row.get(name) or 0 for row in rows)], color=color, label=name.replace("_", " "))
    panel.set_ylabel("MB so far")
    _finish(panel, "Traffic")


def _replies(panel: Any, reasons: Sequence[str], rows: list[dict[str, Any]], numbers: list[int]) -> None:
    base = [0] * len(rows)
    for name, color in zip(("pooled", *reasons), cycle(COLORS), strict=False):
        counts = [row.get(name, 0) for row in rows]
        panel.bar(numbers, counts, bottom=base, width=1.0, color=color, label=name.replace("refused.", "refused: "))
        base = [low + count for low, count in zip(base, counts, strict=True)]
    _finish(panel, "Replies")


def _finish(panel: Any, title: str) -> None:
    panel.set_title(title)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, fontsize="small")
