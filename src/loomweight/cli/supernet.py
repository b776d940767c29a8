"""`loomweight supernet`: train a supernet, search it, export a subnet."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from ..engines import engine_named
from ..errors import BadParameter, OutputError
from ..merge.named import batches_of, called, named
from ..merge.network import network
from ..search import Budget
from ..supernet import Elastic, SpaceTable, elastic
from ..supernet.run import RunFolder, Settings, honesty, judged, report, same_scores, score, searched, train
from ..supernet.run.train import seeded
from ..weights import save
from .app import app

group = typer.Typer(help="One set of weights that holds many networks: train it, search it, export one.", no_args_is_help=True)
app.add_typer(group, name="supernet")

RunArgument = Annotated[Path, typer.Argument(help="The folder of the run.", metavar="RUN")]


@group.command("train")
def train_(
    run: RunArgument,
    model: Annotated[str, typer.Option(help="module:factory that gives the largest network, or a Transformers config.")],
    space: Annotated[str, typer.Option(help="What may vary: a file (YAML or text), or one line such as 'width * : 0.5 1.0'.")],
    data: Annotated[str, typer.Option(help="module:function that gives the batches of an epoch, (inputs, targets); it may take the epoch's number.")],
    example: Annotated[str | None, typer.Option(help="module:function that gives inputs to trace on; by default the first batch's.")] = None,
    epochs: Annotated[int, typer.Option(help="How often the data is gone through.")] = 10,
    step: Annotated[str, typer.Option(help="sandwich (largest, smallest, two drawn) or single (one drawn).")] = "sandwich",
    sampler: Annotated[str, typer.Option(help="uniform, by_operator or stratified.")] = "uniform",
    soft: Annotated[str, typer.Option(help="How a sandwich's subnets learn from the largest: labels, alpha or none.")] = "labels",
    optimizer: Annotated[str, typer.Option(help="adamw or sgd.")] = "adamw",
    rate: Annotated[float, typer.Option("--lr", help="The learning rate at first.")] = 1e-3,
    schedule: Annotated[str, typer.Option(help="cosine or constant.")] = "cosine",
    decay: Annotated[float, typer.Option(help="Weight decay.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed and data train the same.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where there is a run.")] = False,
) -> None:
    """Train one network that holds all that the space describes.

    Example: `loomweight supernet train ./run --model nets:cnn --space space.yaml --data nets:batches --epochs 5`
    """
    table = str(SpaceTable.of(space))
    settings = Settings(model, example, table, data, epochs, step, sampler, soft, optimizer, rate, schedule, decay, seed)
    net = _net(settings)
    typer.echo(f"{net.space.count():,} networks, {net.cost(net.min()).params:,} to {net.cost(net.max()).params:,} parameters", err=True)
    loss = train(net, settings, partial(_epoch, data), run, resume=resume, overwrite=overwrite)
    typer.echo(f"{run}: trained for {epochs} epochs; loss of the last steps {loss:.4g}")


@group.command("search")
def search_(
    run: RunArgument,
    data: Annotated[str, typer.Option(help="module:function that gives batches that were not trained on.")],
    by: Annotated[str, typer.Option(help="accuracy or loss.")] = "accuracy",
    limit: Annotated[list[str] | None, typer.Option(help="A limit of a cost, as in 'params<=1e5' or 'latency_ms<=2'; once for each.")] = None,
    minimise: Annotated[str, typer.Option(help="Costs that are objectives, with commas; '' for none.")] = "params",
    trials: Annotated[int, typer.Option(min=1, help="How many subnets to judge, those of earlier calls counted.")] = 100,
    sampler: Annotated[str, typer.Option(help="auto, random, tpe, nsga2, evolution, mutation, bandit, emars.")] = "auto",
    calibrate: Annotated[int, typer.Option(help="Batches of the training data for BatchNorm statistics; 0 for none.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed tries the same.")] = 0,
    engine: Annotated[str, typer.Option(help="inline or ray:N: where subnets are judged.")] = "inline",
) -> None:
    """Search a trained supernet for the best subnets, and report the front and what the ranking is worth.

    Example: `loomweight supernet search ./run --data nets:held_out --limit 'params<=20000' --trials 60`
    """
    if by not in ("accuracy", "loss"):
        raise BadParameter(f"--by is accuracy or loss, found {by!r}.")
    if engine.startswith("threads"):
        raise BadParameter("subnets of one net cannot be judged in threads, which would share its choice; use --engine inline or ray:N.")
    build = _Built(str(run.resolve()), data, calibrate)
    net, batches = build()
    same_scores(run, {"weights": RunFolder(run).digest(), "data": data, "calibrate": calibrate})
    judge = judged(build, by)
    wanted = tuple(name for name in minimise.split(",") if name)
    found = searched(net, judge, run, minimise=wanted, limits=_limits(limit or []), budget=Budget(trials, sampler, seed), engine=engine_named(engine))
    table = Table(
        "trial", *found.study.objectives, "configuration", title=f"{len(found.front)} on the front of {len(found.trials)} trials", title_justify="left"
    )
    for trial in found.front:
        table.add_row(str(trial.number), *(f"{value:.6g}" for value in trial.values), _shown(trial.parameters))
    Console().print(table)
    words = honesty(net, batches, seed) if len(batches) > 1 else "The data is one batch; give several, and the ranking is compared between its halves."
    typer.echo(words)
    front = [{"trial": trial.number, "values": trial.parameters, **dict(zip(found.study.objectives, trial.values, strict=True))} for trial in found.front]
    (run / "front.json").write_text(json.dumps(front, indent=2) + "\n", "utf-8")
    typer.echo(f"report: {report(found, net, words, run)}")


@group.command("export")
def export_(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    choose: Annotated[str | None, typer.Option(help="max, min, or fields, as in 'width 0=16, depth layers=2' (others stay the largest).")] = None,
    trial: Annotated[int | None, typer.Option(help="A trial of the search.")] = None,
    data: Annotated[str | None, typer.Option(help="module:function: judge what is exported on these batches.")] = None,
    calibrate: Annotated[int, typer.Option(help="Batches of the training data for BatchNorm statistics; 0 for none.")] = 8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
) -> None:
    """Write one subnet as a plain network with its own weights: model.safetensors and architecture.json.

    Example: `loomweight supernet export ./run ./small --trial 17`
    """
    if (choose is None) == (trial is None):
        raise BadParameter("say which subnet: --choose max, --choose min, --choose 'field=value, ...', or --trial N of the search.")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists; --overwrite replaces it.")
    net, batches = _Built(str(run.resolve()), data, calibrate)()
    values = _chosen(net, choose) if choose is not None else _of_trial(run, trial)
    plain = net.export(values)
    save(dict(plain.state_dict()), out, overwrite=overwrite)
    settings = RunFolder(run).settings()
    cost = net.cost(values)
    told = {"architecture": values, "model": settings.model, "space": settings.space, "params": cost.params, "flops": cost.flops, "nbytes": cost.nbytes}
    (out / "architecture.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")
    worth = ""
    if batches:
        found = score(net, values, batches)
        worth = f"; accuracy {found.accuracy:.4f}, loss {found.loss:.4f}"
    typer.echo(f"{out}: {cost.params:,} parameters, {cost.nbytes:,} bytes; differs from the subnet by {net.difference:.1e} of the largest output{worth}")


@dataclass(frozen=True)
class _Built:
    """Makes the trained net and batches, here or in another process."""

    run: str
    data: str | None
    calibrate: int

    def __call__(self) -> tuple[Elastic, list[Any]]:
        folder = RunFolder(Path(self.run))
        settings = folder.settings()
        state = folder.state()
        if state is None:
            raise BadParameter(f"{self.run} holds no trained weights yet: train it first, or go on with --resume.")
        net = _net(settings)
        net.load_state_dict(state["net"])
        if self.calibrate:
            net.calibrate(_epoch(settings.data, 0), self.calibrate)
        return net, batches_of(called(named(self.data, "a data function"), self.data), self.data) if self.data else []


def _net(settings: Settings) -> Elastic:
    example = settings.example

    def made() -> nn.Module:
        if ":" in settings.model and example is None:
            found = called(named(settings.model, "a model"), settings.model)
            if not isinstance(found, nn.Module):
                raise BadParameter(f"{settings.model}() gives a {type(found).__name__}, not a torch.nn.Module.")
            return found
        return network(settings.model, example).model

    model = seeded(settings.seed, made)
    if ":" in settings.model and example is None:
        return elastic(model, settings.space, _example(_epoch(settings.data, 0)[0]))
    return elastic(model, settings.space, network(settings.model, example).example)


def _example(batch: Any) -> Any:
    """The inputs of a batch."""
    if isinstance(batch, Mapping):
        return {key: value for key, value in batch.items() if key not in ("label", "labels")}
    return batch[0] if isinstance(batch, tuple | list) else batch


def _epoch(data: str, number: int) -> list[Any]:
    """The batches of an epoch; the function may take its number."""
    import inspect

    function = named(data, "a data function")
    takes = callable(function) and len(inspect.signature(function).parameters) > 0
    return batches_of(called(partial(function, number) if takes else function, data), data)


def _limits(words: list[str]) -> dict[str, str]:
    found = {}
    for word in words:
        for sign in ("<=", ">=", "<", ">"):
            name, there, number = word.partition(sign)
            if there:
                before = f"{found[name.strip()]}, " if name.strip() in found else ""
                found[name.strip()] = f"{before}{sign} {number.strip()}"
                break
        else:
            raise BadParameter(f"a limit is a cost, a sign and a number, as in 'params<=1e5'; found {word!r}.")
    return found


def _chosen(net: Elastic, words: str) -> dict[str, Any]:
    if words in ("max", "min"):
        return getattr(net, words)()
    values = net.max()
    for word in words.split(","):
        name, there, told = word.strip().rpartition("=")
        if not there:
            raise BadParameter(f"--choose is max, min, or field=value with commas between; found {word.strip()!r}.")
        values[name.strip()] = _as_option(net, name.strip(), told.strip())
    return net.space.canonical(values)


def _as_option(net: Elastic, name: str, told: str) -> Any:
    dimension = net.space.dimensions.get(name)
    return next((option for option in getattr(dimension, "options", ()) if str(option) == told), told)


def _of_trial(run: Path, number: int | None) -> dict[str, Any]:
    file = run / "front.json"
    if not file.exists():
        raise BadParameter(f"{run} was not searched: there is no front.json; `loomweight supernet search {run} ...` makes one.")
    front = json.loads(file.read_text("utf-8"))
    found = next((row for row in front if row["trial"] == number), None)
    if found is None:
        raise BadParameter(f"trial {number} is not on the front; there are: {', '.join(str(row['trial']) for row in front)}.")
    return found["values"]


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
