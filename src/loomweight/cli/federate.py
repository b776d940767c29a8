"""`loomweight federate`: pool what clients learn, look at who has what, and try rules against attacks."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from torch import nn

from ..engines import engine_named
from ..errors import BadParameter, LoomweightError
from ..federate.partition import picture, split, table
from ..federate.report import history_table, over_clients, robustness
from ..federate.run import Setting, carried_out, digits, perceptron
from ..federate.run.carried_out import pairs
from ..federate.spoken import Spoken
from ..federate.words import part
from ..merge.named import called, named
from ..rules import Rule
from ..supernet.run.train import seeded
from .app import app

group = typer.Typer(help="Many clients, one model: train it without their data leaving them, some of them slow, some hostile.", no_args_is_help=True)
app.add_typer(group, name="federate")

_WIDE = 150
DataOption = Annotated[str, typer.Option(help="digits, or module:function giving (inputs, labels), or such a pair to train and one to test.")]
SplitOption = Annotated[str, typer.Option(help="Who gets which samples: iid, dirichlet(0.1), shards(2), quantity_skew, labels_per_client(2), ...")]
ClientsOption = Annotated[int, typer.Option(min=1, help="How many clients.")]
SeedOption = Annotated[int, typer.Option(min=0, help="The same seed gives the same.")]


@group.command("run")
def run_(
    run: Annotated[Path, typer.Argument(help="The folder of the run.", metavar="RUN")],
    data: DataOption = "digits",
    model: Annotated[str, typer.Option(help="perceptron (two layers), or module:factory.")] = "perceptron",
    clients: ClientsOption = 10,
    split: SplitOption = "iid",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in all, those of earlier calls counted.")] = 20,
    strategy: Annotated[Path | None, typer.Option(help="A YAML file with choose, objective, message, aggregate, tensors, guard, epochs, ...")] = None,
    choose: Annotated[str | None, typer.Option(help="everyone, sample(10), sample(0.1), ...")] = None,
    objective: Annotated[list[str] | None, typer.Option(help="A term of the clients' objective, such as proximal(mu=0.1); once for each.")] = None,
    message: Annotated[list[str] | None, typer.Option(help="A part of the message, such as top_k(0.01); once for each.")] = None,
    aggregate: Annotated[str | None, typer.Option(help="An aggregate or a rule: mean, median, krum(f=2), ...; `loomweight methods` lists them.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of local training; 1 where the file says nothing.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Examples a local step; 32 where the file says nothing.")] = None,
    rate: Annotated[float | None, typer.Option("--lr", help="The clients' learning rate; 0.1 where the file says nothing.")] = None,
    attack: Annotated[str | None, typer.Option(help="What hostile clients do: sign_flip, alie, label_flip, ...")] = None,
    hostile: Annotated[int, typer.Option(min=0, help="How many clients are hostile.")] = 0,
    engine: Annotated[str, typer.Option(help="inline or ray:N: where clients train.")] = "inline",
    seed: SeedOption = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where there is a run.")] = False,
) -> None:
    """Train one model on data that stays with its clients.

    Example: `loomweight federate run ./run --split 'dirichlet(0.1)' --aggregate 'krum(f=2)' --attack sign_flip --hostile 2`
    """
    given = {"choose": choose, "objective": objective, "message": message, "aggregate": aggregate, "epochs": epochs, "batch": batch, "rate": rate}
    told = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items() if value is not None}
    spoken = replace(Spoken.read(strategy) if strategy else Spoken(), **told)
    setting = Setting(data, model, clients, split, spoken, attack, hostile, seed)
    setting.check()
    found, runner = _data(data), engine_named(engine)
    train, test = pairs(found, data)
    network = seeded(seed, lambda: _network(model, train))
    setting.begin(run, resume=resume, overwrite=overwrite)
    done = carried_out(run, setting, found, network, rounds, runner)
    console = Console()
    console.print(history_table(done.history))
    summary = over_clients(done.model, _divided(train, setting)).summary()
    shown = (f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in summary.items())
    typer.echo(f"over clients, on their own data: {', '.join(shown)}")
    tested = f"; accuracy on the test data {done.last('accuracy'):.4f}" if test and done.last("accuracy") is not None else ""
    typer.echo(f"{run / 'model.safetensors'}: {len(done.history)} rounds{tested}")


@group.command("split")
def split_(
    out: Annotated[Path | None, typer.Argument(help="A picture to write: .png, .svg or .pdf.")] = None,
    data: DataOption = "digits",
    clients: ClientsOption = 10,
    split: SplitOption = "dirichlet(0.1)",
    seed: SeedOption = 0,
) -> None:
    """Show who has what.

    Example: `loomweight federate split who.png --split 'shards(2)' --clients 20`
    """
    setting = Setting(data, clients=clients, split=split, seed=seed)
    (_, labels), _ = pairs(_data(data), data)
    parts = setting.partition()(labels, clients, seed)
    Console().print(table(parts, labels))
    if out:
        typer.echo(f"picture: {picture(parts, labels, out)}")


@group.command("robustness")
def robustness_(
    out: Annotated[Path | None, typer.Argument(help="A heat map to write: .png, .svg or .pdf.")] = None,
    rule: Annotated[list[str] | None, typer.Option(help="A rule, such as krum(f=4); once for each. By default all that bear hostile clients.")] = None,
    clients: Annotated[int, typer.Option(min=2, help="How many clients.")] = 20,
    hostile: Annotated[int, typer.Option(min=0, help="How many of them are hostile.")] = 4,
    entries: Annotated[int, typer.Option(min=1, help="Entries of an update.")] = 1000,
    seeds: Annotated[int, typer.Option(min=1, help="Draws that are averaged.")] = 5,
) -> None:
    """Show how far each attack moves each rule, on synthetic updates.

    Example: `loomweight federate robustness map.png --rule mean --rule 'multi_krum(f=4)'`
    """
    rules = {words: part(words, (Rule,), "a rule") for words in rule} if rule else None
    found = robustness(rules, clients=clients, f=hostile, entries=entries, seeds=range(seeds))
    console = Console()
    console.width = max(console.width, _WIDE)  # a narrower table would lose the names
    console.print(found.table())
    if out:
        typer.echo(f"picture: {found.picture(out)}")


def _network(model: str, train: Any) -> nn.Module:
    made = perceptron(train) if model == "perceptron" else called(named(model, "a model"), model)
    if not isinstance(made, nn.Module):
        raise BadParameter(f"{model}() gives a {type(made).__name__}, not a torch.nn.Module.")
    return made


def _divided(train: Any, setting: Setting) -> Any:
    return split(train, setting.partition(), setting.clients, setting.seed)


def _data(name: str) -> Any:
    if name == "digits":
        return digits()
    try:
        return called(named(name, "data"), name)
    except LoomweightError as error:
        raise type(error)(f"{error} Or say --data digits.") from error
