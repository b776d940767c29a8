"""`loomweight align`: a network in another's coordinates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from ..errors import BrokenFile
from ..evaluate.apart import Apart, apart
from ..evaluate.config_claims import broken_claims
from ..merge.alignment import How
from ..merge.bar import bar
from ..merge.coordinates import Coordinates, Side
from ..merge.side_files import copied
from ..weights import Output, Weights, config_of, load, write
from ..weights.place import Place
from .app import app
from .model import DataOption, ExampleOption, ModelOption, TableOption


@app.command()
def align(
    moving: Annotated[Path, typer.Argument(help="The checkpoint that is put into another order of units.")],
    out: Annotated[Path, typer.Argument(help="The folder to write, or a file that ends in .safetensors.")],
    to: Annotated[Path, typer.Option(help="The checkpoint whose coordinates it gets.")],
    method: Annotated[
        str, typer.Option(help="weights, activations (needs --model and --data), ot (other widths too), or depth (other depths too).")
    ] = "weights",
    model: ModelOption = None,
    table: TableOption = None,
    moving_model: Annotated[str | None, typer.Option(help="The model of MOVING, where it has another width or depth than --model.")] = None,
    moving_table: Annotated[str | None, typer.Option(help="The table of MOVING, where it is another one.")] = None,
    example: ExampleOption = None,
    data: DataOption = None,
    seed: Annotated[int, typer.Option(help="Of the matching.")] = 0,
    layers: Annotated[bool, typer.Option("--layers", help="Say of every layer how far apart it was and is.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what an interrupted run has left.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
) -> None:
    """Write a network in the coordinates of another that was trained apart, so that the two can be merged.

    Example: `loomweight align ./b --to ./a ./b-aligned`
    """
    how = Coordinates(How(method, model, table, example, data, seed, moving_model, moving_table))
    ours, theirs = (Side(load(path), config_of(path)) for path in (moving, to))
    aligned = how.bring(ours, theirs)
    Place.at(out).check([moving, to, *aligned.sources], overwrite)
    for note in how.notes:
        typer.secho(f"note: {note}", fg="yellow", err=True)
    before = apart(ours.weights, theirs.weights) if _alike(ours.weights, aligned) else None
    output = Output(out, files=_files(moving, moving if before else to, aligned, out), metadata={"format": "pt"}, overwrite=overwrite)
    with bar(f"aligning {out.name}", True) as progress:
        write(aligned, output, resume=resume, progress=progress)
    _tell(out, to, before, apart(load(out), theirs.weights), layers)


def _files(moving: Path, sized: Path, aligned: Weights, out: Path) -> dict[str, bytes]:
    """What lies beside the weights, as a merge takes it along; the config is that of the model whose sizes the result has."""
    if out.suffix == ".safetensors":
        return {}
    config, told = sized / "config.json", config_of(sized)
    if told and (broken := broken_claims(told, aligned)):
        raise BrokenFile(f"{config} contradicts the tensors that it would lie beside: {'; '.join(broken)}. Mend it, or write one file: {out}.safetensors.")
    found = copied(moving) if moving.is_dir() else {}
    return {**found, **({"config.json": config.read_bytes()} if config.exists() else {})}


def _alike(moving: Weights, aligned: Weights) -> bool:
    """Whether the network keeps its widths and its depth."""
    return moving.spec.keys() == aligned.spec.keys() and all(spec.shape == aligned.spec[name].shape for name, spec in moving.spec.items())


def _tell(out: Path, to: Path, before: Mapping[str, Apart] | None, after: Mapping[str, Apart], layers: bool) -> None:
    was = f"was {_words(before[''])} from {to}, " if before else "had another width or depth, "
    typer.echo(f"{out}: {was}is {_words(after[''])}")
    if layers:
        shown = Table(Column("layer", overflow="fold"), "distance before", "after", "cosine before", "after")
        for layer, now in list(after.items())[1:]:
            then = before[layer] if before else None
            shown.add_row(layer, f"{then.relative:.3g}" if then else "", f"{now.relative:.3g}", f"{then.cosine:.4f}" if then else "", f"{now.cosine:.4f}")
        Console().print(shown)


def _words(found: Apart) -> str:
    return f"{found.distance:.4g} ({found.relative:.1%} of its norm, cosine {found.cosine:.3f})"
