"""One picture of the demo's table."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import MissingExtra
from .models import Row


def draw(rows: Sequence[Row], path: Path) -> Path:
    """Accuracy as bars, one a row, written as PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("pictures need matplotlib; install the extra: pip install 'loomweight[demo]'") from error
    figure = Figure(figsize=(9, 0.42 * len(rows) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(rows), 0, -1)
    colors = [_color(row.name) for row in rows]
    axes.barh(places, [row.accuracy for row in rows], color=colors)
    for place, row in zip(places, rows, strict=True):
        axes.text(row.accuracy + 0.01, place, f"{row.accuracy:.1%}", va="center", fontsize=9)
    axes.set_yticks(places, [row.name for row in rows])
    axes.set_xlim(0, 1.12)
    axes.set_ylim(0.3, len(rows) + 0.7)
    axes.set_xlabel("accuracy on test digits")
    axes.set_title("Small digit classifiers: merged, aligned, averaged along a run", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    return path


def _color(name: str) -> str:
    """Grey for what was merged of nothing, red for strangers as they are, green for aligned ones, violet for averages of one run."""
    if "alone" in name or name == "start" or "last step" in name:
        return "#9aa5b1"
    if name.startswith("its "):
        return "#7a5c99"
    if "aligned" in name:
        return "#3f8f5f"
    return "#c8553d" if "strangers" in name else "#2f6f8f"
