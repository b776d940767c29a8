"""Drawings of what this package measures, without a display and without touching pyplot's state."""

from collections.abc import Sequence
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingExtra, OutputError

if TYPE_CHECKING:
    from .barrier import Barrier
    from .layerwise import Layerwise
    from .plane import Plane
    from .similarity import Similarity

KINDS = (".png", ".svg", ".pdf")
_BLUE, _ORANGE, _GREY = "#2f6f8f", "#e8710a", "#9aa0a6"


def check_picture(path: Path) -> None:
    """What would fail after all the work is done shows before.

    Raises:
        OutputError: the name ends in no kind of picture, or its folder is not there.
        MissingExtra: matplotlib is not installed.
    """
    if path.suffix not in KINDS or not path.absolute().parent.is_dir():
        reason = f"{path.parent} is no folder" if path.suffix in KINDS else f"a picture ends in {', '.join(KINDS)}"
        raise OutputError(f"the picture cannot be written to {path}: {reason}.")
    if find_spec("matplotlib") is None:
        raise MissingExtra("drawing needs matplotlib; install it with: pip install 'loomweight[report]'")


def draw_losses(places: Sequence[float], losses: Sequence[float], path: Path, along: str) -> Path:
    """The loss over some length, with its lowest point; a logarithmic axis where the places span more than a factor of ten."""
    figure, axes = _canvas(6.4, 4.0)
    drawn = sorted(zip(places, losses, strict=True))
    axes.plot(*zip(*drawn, strict=True), "o-", ms=4, color=_BLUE)
    place, least = min(((place, loss) for place, loss in drawn if isfinite(loss)), key=lambda pair: pair[1])
    axes.plot([place], [least], "*", ms=13, color=_ORANGE, label=f"{least:.5g} at {place:g}")
    if places and max(places) > 10 * min(places) > 0:
        axes.set_xscale("log")
    axes.set(xlabel=along, ylabel="loss", title=f"Loss over {along}")
    axes.legend(frameon=False, fontsize="small")
    return _saved(figure, path)


def draw_barrier(curves: "dict[str, Barrier]", path: Path) -> Path:
    """The loss along each line, with the chord between its ends."""
    figure, axes = _canvas(6.4, 4.0)
    for number, (name, found) in enumerate(curves.items()):
        color = (_ORANGE, _BLUE, "#5b8c3a", "#8c4a7d")[number % 4]
        axes.plot(found.positions, found.losses, "o-", ms=4, color=color, label=f"{name}: {found.height:.4g} at t = {found.at:g}")
        axes.plot(found.positions[:: len(found.positions) - 1], found.losses[:: len(found.losses) - 1], ":", lw=1, color=color)
    axes.set(xlabel="t, from the first set (0) to the second (1)", ylabel="loss", title="Barrier: the highest rise above the line between the ends")
    axes.legend(frameon=False, fontsize="small")
    return _saved(figure, path)


def draw_plane(plane: "Plane", path: Path) -> Path:
    """Filled contours, lines with their losses, and the three sets."""
    from matplotlib.colors import BoundaryNorm

    figure, axes = _canvas(7.2, 5.6)
    losses = np.ma.masked_invalid(np.array(plane.losses))
    levels = contour_levels([value for row in plane.losses for value in row], plane.ends)
    shown = axes.contourf(plane.xs, plane.ys, losses, levels=levels, cmap="viridis_r", norm=BoundaryNorm(levels, 256), extend="both")
    lines = axes.contour(plane.xs, plane.ys, losses, levels=levels, colors="white", linewidths=0.6)
    axes.clabel(lines, fontsize=7, fmt=lambda value: f"{value:.3g}")
    for (x, y), value, label in zip(plane.corners, plane.ends, plane.labels, strict=True):
        axes.plot(x, y, "o", ms=8, color=_ORANGE, mec="white", zorder=3)
        box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.8}
        axes.annotate(f"{label}\n{value:.4g}", (x, y), textcoords="offset points", xytext=(8, 8), fontsize=8, bbox=box, zorder=4)
    axes.plot(*zip(*plane.corners, plane.corners[0], strict=True), ":", lw=1, color="white")
    axes.set(xlabel="distance along b - a", ylabel="distance across", title="Loss in the plane of three weight sets", aspect="equal")
    axes.set_facecolor("#dddddd")
    figure.colorbar(shown, ax=axes, format=lambda value, _: f"{value:.3g}", ticks=levels, label="loss")
    return _saved(figure, path)


def contour_levels(losses: Sequence[float], ends: Sequence[float], count: int = 12) -> list[float]:
    """Levels that crowd near the least loss, where models live, and thin out towards the largest.

    >>> contour_levels([0.0, 1.0, float("nan")], [0.1], count=3)
    [0.0, 0.01, 0.1, 1.0]
    """
    finite = [value for value in (*losses, *ends) if isfinite(value)]
    low, high = min(finite), max(finite)
    step = (high - low) or 1.0
    return [low, *(float(f"{low + step * 10 ** (-2 + 2 * i / (count - 1)):.6g}") for i in range(count))]


def draw_layerwise(found: "Layerwise", path: Path) -> Path:
    """A bar for every group, and one for the whole."""
    names = [*(group.name for group in found.groups), "all of it"]
    heights = [*(group.height for group in found.groups), found.whole.height]
    figure, axes = _canvas(8.0, 0.28 * len(names) + 1.4)
    places = range(len(names), 0, -1)
    axes.barh(places, heights, color=[_BLUE] * len(found.groups) + [_ORANGE])
    for place, height in zip(places, heights, strict=True):
        axes.text(max(height, 0), place, f" {height:.3g}", va="center", fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    axes.axvline(0, color=_GREY, lw=1)
    title = {"single": "one layer moved alone", "first": "this layer and all before it", "last": "this layer and all after it"}[found.mode]
    axes.set(xlabel="barrier", title=title)
    return _saved(figure, path)


def draw_similarity(found: "Similarity", path: Path) -> Path:
    """The matrix as colours, with numbers where there is room."""
    rows, columns = len(found.rows), len(found.columns)
    figure, axes = _canvas(0.5 * columns + 3.2, 0.4 * rows + 2.0)
    values = np.array(found.values)
    shown = axes.imshow(values, vmin=0, vmax=1, cmap="magma", aspect="auto")
    axes.set_xticks(range(columns), found.columns, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(rows), found.rows, fontsize=8)
    for i in range(rows if columns <= 24 else 0):
        for j in range(columns):
            axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=7, color="white" if values[i, j] < 0.6 else "black")
    axes.set(title="CKA" + (", debiased" if found.debiased else ""))
    figure.colorbar(shown, ax=axes)
    return _saved(figure, path)


def _canvas(width: float, height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing needs matplotlib; install it with: pip install 'loomweight[report]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _saved(figure: Any, path: Path) -> Path:
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise OutputError(f"the picture cannot be written to {path}: {error}.") from error
    return path
