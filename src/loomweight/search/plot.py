"""A picture of a study: values over time, the parameters behind them, and the Pareto front."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from ..errors import BadParameter, MissingExtra, OutputError
from .choice import Choice
from .dimension import Float, Int
from .front import Direction, front
from .space import Space
from .trial import Trial

#: at most this many panels of parameters, or of pairs of objectives
_MOST = 6
_GREY, _BLUE, _ORANGE, _RED = "#9aa0a6", "#1f77b4", "#e8710a", "#c5221f"

Objectives = Mapping[str, Direction]


def draw(objectives: Objectives, space: Space, trials: Sequence[Trial], path: Path) -> Path:
    """Draw to a png, svg or pdf file and return its path. Without a display, and without touching pyplot's state.

    Raises:
        BadParameter: no trial has finished.
        MissingExtra: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    done = [trial for trial in trials if trial.finished]
    if not done:
        raise BadParameter("there is nothing to draw: no trial has finished.")
    panels = _panels(objectives, space, done)
    figure, axes = _canvas(len(panels) + len(objectives))
    for index, name in enumerate(objectives):
        _history(axes[index], index, name, objectives[name], trials)
    for axis, (function, *details) in zip(axes[len(objectives) :], panels, strict=True):
        function(axis, done, objectives, *details)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise OutputError(f"the picture cannot be written to {path}: {error}.") from error
    return path


def _panels(objectives: Objectives, space: Space, done: Sequence[Trial]) -> list[tuple[Any, ...]]:
    """Several objectives: their pairs. One objective: the parameters."""
    if len(objectives) > 1:
        return [(_pair, i, j) for i, j in combinations(range(len(objectives)), 2)][:_MOST]
    return [(_parameter, name, space.dimensions[name]) for name in space.names][:_MOST]


def _canvas(count: int) -> tuple[Any, list[Any]]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing needs matplotlib; install it with: pip install 'loomweight[report]'") from error
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.remove()
    for axis in axes[:count]:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[:count]


def _history(axis: Any, index: int, name: str, direction: Direction, trials: Sequence[Trial]) -> None:
    done = [trial for trial in trials if trial.finished]
    failed = [trial.number for trial in trials if trial.failure]
    numbers, values = [trial.number for trial in done], [trial.values[index] for trial in done]
    better = max if direction == "max" else min
    best = [better(values[: i + 1]) for i in range(len(values))]
    axis.scatter(numbers, values, s=14, color=_GREY, label="a trial")
    axis.step(numbers, best, where="post", color=_BLUE, label="best so far")
    if failed:
        axis.plot(failed, [0.02] * len(failed), "x", color=_RED, transform=axis.get_xaxis_transform(), label=f"failed ({len(failed)})")
    axis.set(xlabel="trial", ylabel=f"{name} ({direction})", title=f"{name}: {best[-1]:.6g} after {len(trials)} trials")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(frameon=False, fontsize="small")


def _pair(axis: Any, done: Sequence[Trial], objectives: Objectives, i: int, j: int) -> None:
    names, directions = list(objectives), tuple(objectives.values())
    points = [(trial.values[i], trial.values[j]) for trial in done]
    best = {done[k].number for k in front([trial.values for trial in done], directions)}
    chosen = sorted(point for trial, point in zip(done, points, strict=True) if trial.number in best)
    axis.scatter(*zip(*points, strict=True), s=14, color=_GREY, label="a trial")
    axis.plot(*zip(*chosen, strict=True), "o-" if len(objectives) == 2 else "o", ms=5, lw=1, color=_ORANGE, label=f"Pareto front ({len(best)})")
    axis.set(xlabel=f"{names[i]} ({directions[i]})", ylabel=f"{names[j]} ({directions[j]})", title=f"{names[i]} and {names[j]}")
    axis.legend(frameon=False, fontsize="small")


def _parameter(axis: Any, done: Sequence[Trial], objectives: Objectives, name: str, dimension: Float | Int | Choice) -> None:
    values = [trial.values[0] for trial in done]
    ((objective, direction),) = objectives.items()
    at = values.index((max if direction == "max" else min)(values))
    where = [dimension.encode(trial.parameters[name]) for trial in done]
    axis.scatter(where, values, c=[trial.number for trial in done], s=16, cmap="viridis")
    axis.plot(where[at], values[at], "*", ms=13, color=_ORANGE, label=f"best: {_shown(done[at].parameters[name])}")
    if isinstance(dimension, Choice):
        axis.set_xticks(range(len(dimension.options)), [str(option) for option in dimension.options])
    elif dimension.log:
        axis.set_xscale("log")
    axis.set(xlabel=name, ylabel=objective, title=f"{name} (later trials lighter)")
    axis.legend(frameon=False, fontsize="small")


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
