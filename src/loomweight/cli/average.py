"""`loomweight average`: an average along a run that is over."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..engines import Threads
from ..engines.progress import track
from ..errors import BadParameter
from ..evaluate.picture import check_picture, draw_losses
from ..merge.bar import bar
from ..merge.explain import size
from ..merge.judge import evaluator
from ..merge.side_files import copied
from ..trajectory import Candidate, Choice, RunFolder, candidates
from ..trajectory.average_card import average_card
from ..trajectory.candidates import best, ladder
from ..trajectory.progression import progression, whole
from ..weights import Output, write
from ..weights.place import Place
from ..weights.write import floating_dtype
from .app import app

_POOR = 0.05


@app.command()
def average(
    run_folder: Annotated[Path, typer.Argument(help="The folder with the run's checkpoints, or with snapshots of PostHocEMA.")],
    out: Annotated[Path, typer.Argument(help="The folder to write, or a file that ends in .safetensors.")],
    last: Annotated[str | None, typer.Option(help="Average the last K checkpoints; with --eval several numbers, as in 1,5,20.")] = None,
    every: Annotated[int | None, typer.Option(help="Take every N-th checkpoint only, counted back from the last.")] = None,
    ema: Annotated[str | None, typer.Option(help="Let older checkpoints fade by half every so many checkpoints.")] = None,
    posthoc: Annotated[bool, typer.Option("--posthoc", help="Put an average together from snapshots of PostHocEMA.")] = False,
    length: Annotated[str | None, typer.Option(help="Its length, as a part of the run; with --eval several, as in 0.05,0.1,...,0.25.")] = None,
    at: Annotated[float | None, typer.Option(help="With --posthoc: after so many samples of the run; by default at its end.")] = None,
    only: Annotated[str | None, typer.Option(help="Take only what is called so, as in 'model-*'.")] = None,
    evaluated: Annotated[str | None, typer.Option("--eval", help="module:function that gives the loss of weights: prints a table, writes the best.")] = None,
    plot: Annotated[Path | None, typer.Option(help="With --eval: draw the losses, a png, svg or pdf.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Store floating tensors so, as in bfloat16; by default as the checkpoints do.")] = None,
    threads: Annotated[int | None, typer.Option(help="How many threads; by default one for each core.")] = None,
    shard_size: Annotated[str, typer.Option(help="Most bytes in one weight file.")] = "5GB",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what an interrupted run has left.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be averaged; write nothing.")] = False,
) -> None:
    """Average the checkpoints of a run, or put a post-hoc EMA of any length together from its snapshots.

    Example: `loomweight average ./run ./averaged --last 20`
    """
    choice = replace(_choice(last, every, ema, length, posthoc), at=at, dtype=floating_dtype(dtype) if dtype else None)
    _check(choice, evaluated, plot)
    run = RunFolder.of(run_folder, only)
    found = candidates(run, ladder(choice, run) if evaluated else choice)
    sources = [run_folder, *(source for candidate in found for source in candidate.weights.sources)]
    Place.at(out).check(dict.fromkeys(sources), overwrite)
    with Threads() if threads is None else Threads(threads):
        made = _judged(found, choice, evaluated, plot) if evaluated else found[0]
        _explain(run, made, dry_run)
        if dry_run:
            return
        output = Output(out, shard_size, {"format": "pt"}, _files(run, made, out), overwrite)
        with bar(f"averaging {out.name}", True) as progress:
            write(made.weights, output, resume=resume, progress=progress)
    count = sum(made.weights.spec[name].numel for name in made.weights.physical)
    typer.echo(f"{out}: {len(made.weights)} tensors, {count / 1e6:,.1f} M parameters, {made.words}")


def _choice(last: str | None, every: int | None, ema: str | None, length: str | None, posthoc: bool) -> Choice:
    if posthoc != (length is not None):
        raise BadParameter("--posthoc and --length go together, as in --posthoc --length 0.1.")
    if posthoc and (last or every is not None or ema):
        raise BadParameter("--posthoc is for snapshots of PostHocEMA, and --last, --every and --ema are for checkpoints; give one of the two.")
    counts = whole(progression(last, "--last"), "--last") if last else ()
    return Choice(counts, every, progression(ema, "--ema") if ema else (), progression(length, "--length") if length else ())


def _check(choice: Choice, evaluated: str | None, plot: Path | None) -> None:
    """What would fail after the work is done shows before."""
    if choice.at is not None and not choice.lengths:
        raise BadParameter("--at is a time of an average out of snapshots; it goes with --posthoc --length.")
    several = _several(choice)
    if several > 1 and not evaluated:
        raise BadParameter(f"{several} averages are named, and one is written: add --eval module:function to choose by the loss, or name one.")
    if plot and not evaluated:
        raise BadParameter("--plot draws losses: add --eval module:function.")
    if plot:
        check_picture(plot)


def _several(choice: Choice) -> int:
    return max(len(choice.last), len(choice.half_lives), len(choice.lengths))


def _judged(found: list[Candidate], choice: Choice, evaluated: str, plot: Path | None) -> Candidate:
    """Print the loss of each; the one that was asked for, or the best of several."""
    loss = evaluator(evaluated)
    losses = [loss(candidate.weights) for candidate in track(found, "judging", len(found))]
    lowest = best(losses)
    posthoc = found[0].synthesis is not None
    table = Table(choice.along, "loss", *(("error of the weighting",) if posthoc else ()), "")
    for i, (candidate, value) in enumerate(zip(found, losses, strict=True)):
        error = (f"{candidate.synthesis.error:.2g}",) if candidate.synthesis else ()
        table.add_row(f"{candidate.place:g}", f"{value:.6g}", *error, "best" if i == lowest else "")
    Console().print(table)
    if plot:
        typer.echo(f"picture: {draw_losses([candidate.place for candidate in found], losses, plot, choice.along)}", err=True)
    return found[lowest] if _several(choice) > 1 else found[-1]


def _explain(run: RunFolder, made: Candidate, full: bool) -> None:
    if made.synthesis and made.synthesis.error > _POOR:
        off = f"the weighting is off by {made.synthesis.error:.0%} of its norm: the snapshots are too far apart for this length"
        typer.secho(f"note: {off}; choose another length, or write snapshots more often.", fg="yellow", err=True)
    if any(name.endswith("running_mean") for name in made.weights.names):
        advice = "compute them anew on data: loomweight.align.renew_batch_norm"
        typer.secho(f"note: statistics of batch normalizations are averaged too, and are not the average's; {advice}.", fg="yellow", err=True)
    if not full:
        return
    used = {path: weight for path, weight in made.used.items() if weight}
    typer.echo(f"{run.path}: {run.kind}; {made.words}")
    for path, weight in used.items():
        typer.echo(f"  {weight:10.6f}  {path.name}")
    if made.synthesis:
        found = made.synthesis
        typer.echo(f"error of the weighting {found.error:.2g}; no weight is off by more than {found.worst:.2g} of its deviations along the run")
        typer.echo(f"rounding of the snapshots grows {found.growth:.2g}-fold")
    if run.left:
        typer.echo(f"left alone: {', '.join(run.left[:8])}{', ...' if len(run.left) > 8 else ''}")
    dtypes = ", ".join(sorted({str(spec.dtype).removeprefix("torch.") for spec in made.weights.spec.values()}))
    typer.echo(f"output: {len(made.weights)} tensors, {dtypes}, {size(made.weights.nbytes)}; {len(used)} x as much is read, once")


def _files(run: RunFolder, made: Candidate, out: Path) -> dict[str, bytes]:
    """Config, tokenizer and whatever else goes with the last checkpoint, and the model card."""
    if out.suffix == ".safetensors":
        return {}
    newest = list(made.used)[-1]
    home = newest if newest.is_dir() else run.path
    config = home / "config.json"
    found = {**copied(home), "config.json": config.read_bytes()} if config.exists() else {}
    return {**found, "README.md": average_card(made, run.path.resolve().name, transformers=bool(found))}
