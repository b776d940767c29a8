"""`loomweight barrier`: will averaging work?"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from ..engines.progress import track
from ..errors import BadParameter, IntegersDiffer
from ..evaluate import Barrier, Layerwise, Plane, barrier, layerwise, plane
from ..evaluate.picture import check_picture, draw_barrier
from ..merge.coordinates import Coordinates, How, Side
from ..merge.judge import Judge, evaluator
from ..weights import Weights, config_of, load
from ..weights.algebra import agree, keep, union
from .app import app
from .model import DataOption, ModelOption

_BAR = 32


@app.command("barrier")
def barrier_(
    first: Annotated[Path, typer.Argument(help="A checkpoint: file or folder.", metavar="A")],
    second: Annotated[Path, typer.Argument(help="Another one.", metavar="B")],
    third: Annotated[Path | None, typer.Argument(help="A third one: the loss in the plane of the three is mapped.", metavar="[C]")] = None,
    model: ModelOption = None,
    data: DataOption = None,
    evaluated: Annotated[str | None, typer.Option("--eval", help="module:function that gives the loss of weights, instead of --model and --data.")] = None,
    align: Annotated[str | None, typer.Option(help="Also after bringing B (and C) into A's order of units: weights, activations or ot.")] = None,
    steps: Annotated[int, typer.Option(min=3, help="Points along the line, and along each side of the map.")] = 11,
    layers: Annotated[bool, typer.Option("--layers", help="Each layer's own barrier too: which can be averaged.")] = False,
    renew: Annotated[bool, typer.Option("--renew", help="Compute the statistics of batch normalizations anew at every point.")] = False,
    out: Annotated[Path | None, typer.Option(help="A picture: png, svg or pdf.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The loss along the line between two checkpoints: a barrier on it is what their average pays.

    Example: `loomweight barrier ./a ./b --model nets:mlp --data nets:batches --align weights --out barrier.png`
    """
    if out:
        check_picture(out)
    loss = _loss(model, data, evaluated, renew, align)
    paths = [path for path in (first, second, third) if path]
    sets = _prepared([load(path) for path in paths], loss)
    versions = {"as they are": sets}
    if align:
        versions[f"aligned by {align}"] = [sets[0], *_aligned(align, paths, sets, loss)]
    curves = {words: _along(loss, found, steps, words) for words, found in versions.items()}
    last = versions[next(reversed(versions))]
    table = layerwise(_counted(loss, "layers"), last[0], last[1]) if layers else None
    area = plane(_counted(loss, "the plane", steps**2 + 3), last[0], last[1], last[2], steps=steps) if third else None
    if as_json:
        typer.echo(json.dumps(_plain(curves, table, area), indent=2))
    else:
        _show(curves, table, area)
    _draw(out, curves, table, area)


def _loss(model: str | None, data: str | None, evaluated: str | None, renew: bool, align: str | None) -> Callable[[Weights], float]:
    if align:
        How(align, model or "-", data=data if align == "activations" else None)
    if evaluated and not (model or data or renew):
        return evaluator(evaluated)
    if evaluated or not (model and data):
        raise BadParameter("a loss is needed: either --model and --data, or --eval alone.")
    return Judge(model, data, renew)


def _prepared(sets: list[Weights], loss: Any) -> list[Weights]:
    """In the model's order; counters of batches, which no line goes through, are the first's everywhere."""
    if isinstance(loss, Judge):
        if loss.normalizes and not loss.renew:
            typer.secho("note: batch normalizations are averaged as they are; --renew computes their statistics anew at every point.", fg="yellow", err=True)
        sets = [keep(weights, loss.order(weights.names)) for weights in sets]
    return [sets[0], *(_with_counters(sets[0], weights) for weights in sets[1:])]


def _with_counters(a: Weights, b: Weights) -> Weights:
    agree(a, b)
    counters = [name for name, spec in a.spec.items() if name.endswith("num_batches_tracked") and not spec.averages]
    if wrong := [name for name, spec in a.spec.items() if not spec.averages and name not in counters and not bool((a[name] == b[name]).all())]:
        raise IntegersDiffer(f"integer tensor {wrong[0]!r} differs between {a.label} and {b.label}; integers have nothing between them.")
    if not counters:
        return b
    rest = keep(b, [name for name in b.names if name not in counters])
    made = keep(union(rest, keep(a, counters)), list(a.names))
    return Weights(made.spec, made.open, ties=made.ties, origin=("counters of", a, b), label=b.label, sources=made.sources)


def _aligned(method: str, paths: list[Path], sets: list[Weights], loss: Any) -> list[Weights]:
    judge = loss if isinstance(loss, Judge) else None
    found = Coordinates(How(method, judge.model if judge else None, data=judge.data if judge and method == "activations" else None))
    if judge:
        found.network = judge.network
    sides = [Side(weights, config_of(path)) for path, weights in zip(paths, sets, strict=True)]
    return [found.bring(side, sides[0]) for side in sides[1:]]


def _along(loss: Callable[[Weights], float], sets: list[Weights], steps: int, words: str) -> Barrier:
    return barrier(_counted(loss, words, steps), sets[0], sets[1], steps)


def _counted(loss: Callable[[Weights], float], words: str, total: int | None = None) -> Callable[[Weights], float]:
    """The same loss, with a bar where a person is watching."""
    ticks = iter(track(iter(int, 1), words, total))

    def count(weights: Weights) -> float:
        value = loss(weights)
        next(ticks)
        return value

    return count


def _plain(curves: dict[str, Barrier], table: Layerwise | None, area: Plane | None) -> dict[str, Any]:
    found: dict[str, Any] = {"barriers": {words: {"height": b.height, "at": b.at, **asdict(b), "rises": b.rises} for words, b in curves.items()}}
    if table:
        found["layers"] = [asdict(group) for group in table.groups]
    if area:
        found["plane"] = asdict(area)
    return found


def _show(curves: dict[str, Barrier], table: Layerwise | None, area: Plane | None) -> None:
    console = Console()
    least, most = min(min(b.losses) for b in curves.values()), max(max(b.losses) for b in curves.values())
    for words, found in curves.items():
        typer.echo(f"{words}: barrier {found.height:.4g} at t = {found.at:g}")
        shown = Table("t", "loss", "above the line", Column("", no_wrap=True, min_width=_BAR))
        for t, loss, rise in zip(found.positions, found.losses, found.rises, strict=True):
            shown.add_row(f"{t:.2f}", f"{loss:.5g}", f"{rise:.4g}", "█" * (1 + round((_BAR - 1) * (loss - least) / (most - least or 1))))
        console.print(shown)
    if table:
        typer.echo("one layer moved, the rest A's:")
        shown = Table(Column("layer", overflow="fold"), "barrier", "loss when averaged alone")
        for group in table.groups:
            shown.add_row(group.name, f"{group.height:.4g}", f"{group.losses[1]:.5g}")
        console.print(shown)
    if area:
        low, (x, y) = area.lowest
        ends = ", ".join(f"{label} {value:.5g}" for label, value in zip(area.labels, area.ends, strict=True))
        typer.echo(f"plane: {ends}; the least on the map is {low:.5g} at ({x:.3g}, {y:.3g})")


def _draw(out: Path | None, curves: dict[str, Barrier], table: Layerwise | None, area: Plane | None) -> None:
    if out is None:
        return
    drawn = [draw_barrier(curves, out)]
    drawn += [table.draw(out.with_stem(f"{out.stem}-layers"))] if table else []
    drawn += [area.draw(out.with_stem(f"{out.stem}-plane"))] if area else []
    typer.echo(f"pictures: {', '.join(map(str, drawn))}", err=True)
