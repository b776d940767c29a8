"""`loomweight merge`: carry out a recipe."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..merge.explain import explain
from ..merge.run import Options, Outcome, run
from ..merge.stages import STAGES
from .app import app


@app.command()
def merge(
    recipe: Annotated[Path, typer.Argument(help="A YAML file; mergekit's files mean the same here.")],
    out: Annotated[Path, typer.Argument(help="The folder to write, or a file that ends in .safetensors.")],
    threads: Annotated[int | None, typer.Option(help="How many threads; by default one for each core.")] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps, ...")] = "cpu",
    shard_size: Annotated[str, typer.Option(help="Most bytes in one weight file.")] = "5GB",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what an interrupted run has left; what it has finished stays.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan; write nothing.")] = False,
    allow_nonfinite: Annotated[bool, typer.Option("--allow-nonfinite", help="Go on where an input holds NaN or Inf: the other models decide there.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write a picture of the merge, one self-contained HTML file.")] = None,
    keep_middle: Annotated[Path | None, typer.Option(help="Folder for the results of documents that other documents use.")] = None,
) -> None:
    """Merge checkpoints by a recipe.

    Example: `loomweight merge recipe.yaml ./merged`
    """
    how = Options(threads, device, shard_size=shard_size, middle=keep_middle)
    options = replace(how, resume=resume, overwrite=overwrite, dry_run=dry_run, allow_nonfinite=allow_nonfinite)
    if report:
        from ..merge.report import check_report

        check_report(report, out, overwrite=overwrite)
    outcome = run(recipe, out, options, STAGES)
    _tell(outcome, dry_run)
    if report and not dry_run:
        from ..merge.report import write_report

        typer.echo(f"report: {write_report(outcome, report, overwrite=overwrite)}")


def _tell(outcome: Outcome, dry_run: bool) -> None:
    if dry_run:
        typer.echo("\n\n".join(explain(plan) for plan in outcome.plans))
        return
    for plan, path in zip(outcome.plans, outcome.paths, strict=True):
        for note in plan.notes:
            typer.secho(f"note: {note}", fg="yellow", err=True)
        if path in outcome.kept:
            typer.echo(f"{path}: was finished already, from just this plan; left as it is")
            continue
        count = sum(spec.numel for name, spec in plan.headers.items() if name not in plan.ties)
        typer.echo(f"{path}: {len(plan.headers)} tensors, {count / 1e6:,.1f} M parameters, merged by {plan.method.name} from {', '.join(plan.inputs)}")
