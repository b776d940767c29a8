"""One picture of the demo's table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import MissingExtra
from .models import Row
from .supernet_station import Point

_SUPERNET = "#b9862f"


def draw(rows: Sequence[Row], path: Path, points: Sequence[Point] = ()) -> Path:
    """Accuracy as bars, one a row, and beside them the front of the supernet; written as PNG.

    Args:
        rows: the table.
        path: where it goes.
        points: what the search of the supernet tried; none leaves that panel out.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("pictures need matplotlib; install the extra: pip install 'loomweight[demo]'") from error
    figure = Figure(figsize=(14 if points else 9, 0.42 * len(rows) + 1.2), layout="constrained")
    panels = figure.subplots(1, 2 if points else 1, squeeze=False, width_ratios=(9, 5)[: 2 if points else 1])[0]
    _bars(panels[0], rows)
    if points:
        _front(panels[1], points)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    return path


def _bars(axes: Any, rows: Sequence[Row]) -> None:
    places = range(len(rows), 0, -1)
    axes.barh(places, [row.accuracy for row in rows], color=[_color(row.name) for row in rows])
    for place, row in zip(places, rows, strict=True):
        axes.text(row.accuracy + 0.01, place, f"{row.accuracy:.1%}", va="center", fontsize=9)
    axes.set_yticks(places, [row.name for row in rows])
    axes.set_xlim(0, 1.12)
    axes.set_ylim(0.3, len(rows) + 0.7)
    axes.set_xlabel("accuracy on test digits")
    axes.set_title("Small digit classifiers: merged, aligned, averaged along a run, out of one supernet, federated", fontsize=11)


def _front(axes: Any, points: Sequence[Point]) -> None:
    best = sorted(point for point in points if point.best)
    axes.plot([point.params for point in best], [point.accuracy for point in best], "o-", color=_SUPERNET, label="the front")
    others = [point for point in points if not point.best]
    axes.plot([point.params for point in others], [point.accuracy for point in others], "o", color="#c8ced4", label="beaten by another")
    axes.set_xscale("log")
    axes.set_xlabel("parameters")
    axes.set_ylabel("accuracy on validation digits")
    axes.set_title(f"{len(points)} networks of one supernet", fontsize=11)
    axes.legend(frameon=False, loc="lower right")


def _color(name: str) -> str:
    """Grey for what was merged of nothing, red for strangers, green for aligned ones, violet for averages, ochre for a supernet's, blue-green for clients'."""
    if "alone" in name or name == "start" or "last step" in name:
        return "#9aa5b1"
    if name.startswith("supernet"):
        return _SUPERNET
    if "10 clients" in name or "hostile" in name:
        return "#2f8f8f"
    if name.startswith("its "):
        return "#7a5c99"
    if "aligned" in name:
        return "#3f8f5f"
    return "#c8553d" if "strangers" in name else "#2f6f8f"
