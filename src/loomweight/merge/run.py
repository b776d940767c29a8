"""From a recipe file to checkpoints on the disk: read, plan, write. One straight line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ..engines import Threads
from ..errors import OutputError
from ..weights import Weights
from ..weights.disk import telling
from ..weights.lock import swept
from ..weights.place import Place
from ..weights.write import Output, write
from .bar import bar
from .finished import RECORD, is_finished, marked, recorded
from .graph import finals, in_order
from .inputs import adapter_home, home, opened, opener
from .making import Making
from .once import Once
from .pick import device_of
from .plan import Plan
from .planning import check_recipe, plan
from .read import read_recipes
from .recipe import Recipe

#: changes the weights of a recipe's models before they are merged (united vocabularies)
Prepare = Callable[[Recipe, dict[str, Weights]], dict[str, Weights]]
#: says what `prepare` does with these weights, for the notes of the plan
Notes = Callable[[Recipe, Mapping[str, Weights]], tuple[str, ...]]
#: makes the other files of an output folder (config, tokenizer, model card), name -> content
Beside = Callable[[Plan], Mapping[str, bytes]]
#: looks at a finished plan and raises where something is wrong with it (a config that lies)
Check = Callable[[Plan], None]


def _as_they_are(recipe: Recipe, inputs: dict[str, Weights]) -> dict[str, Weights]:
    """The models as they are."""
    return inputs


def _no_notes(recipe: Recipe, inputs: Mapping[str, Weights]) -> tuple[str, ...]:
    """No notes."""
    return ()


def _nothing(plan: Plan) -> Mapping[str, bytes]:
    """No other files."""
    return {}


@dataclass(frozen=True)
class Stages:
    """What a run does besides merging; each stage is a function, and more than one check may be given."""

    prepare: Prepare = _as_they_are
    checks: tuple[Check, ...] = ()
    beside: Beside = _nothing
    notes: Notes = _no_notes


@dataclass(frozen=True)
class Options:
    """How to run.

    Args:
        threads: how many; None is one for each core.
        device: where rules compute, such as "cuda:0".
        resume: go on from what an interrupted run has left; an output that is finished and was made from just this plan is left as it is.
        overwrite: replace an output that exists.
        dry_run: plan and check everything, write nothing.
        allow_nonfinite: NaN and Inf in an input are masked where a rule decides each entry alone; else that model is left out.
        progress: draw a bar, if a person is watching.
        shard_size: most bytes in one weight file.
        middle: folder to write the results of documents that others use; None keeps them in the graph alone.
    """

    threads: int | None = None
    device: str = "cpu"
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    allow_nonfinite: bool = False
    progress: bool = True
    shard_size: str | int | None = "5GB"
    middle: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run has planned and written: plan and path of every output, in the order of the file.

    Args:
        kept: the outputs that were finished before, and left as they are.
    """

    plans: tuple[Plan, ...]
    paths: tuple[Path, ...] = field(default=())
    kept: tuple[Path, ...] = field(default=())


def plans(recipes: Sequence[Recipe], stages: Stages | None = None, make: Callable[[Plan], Weights] = Plan.weights) -> list[Plan]:
    """Plan every document of a file, each after those whose results it uses; headers are read, no data.

    Args:
        make: makes the results that others use, each when it is first needed.

    Raises:
        LoomweightError: the recipe or a model does not fit; the message says where.
    """
    stages = stages or Stages()
    done: list[Plan] = []
    made: dict[str, Weights] = {}
    results: dict[str, Once] = {}
    names = [recipe.name for recipe in recipes if recipe.name]
    for recipe in (ordered := in_order(recipes)):
        check_recipe(recipe)
        if recipe.align and recipe.align_place and stages.prepare is _as_they_are:
            recipe.align_place.refuse("align is the work of a stage, and this run has none: give it stages=STAGES, of loomweight.merge.stages.")
    for recipe in ordered:
        given = opened(recipe, made, names)
        planned = plan(recipe, stages.prepare(recipe, given), opener(recipe))
        planned = replace(planned, notes=(*planned.notes, *stages.notes(recipe, given)), earlier=tuple(results[name] for name in recipe.earlier))
        for check in stages.checks:
            check(planned)
        done.append(planned)
        if recipe.name:
            results[recipe.name] = Once(partial(make, planned))
            made[recipe.name] = planned.promised(results[recipe.name])
    return done


def run(recipe: str | Path | Sequence[Recipe], out: str | Path, options: Options | None = None, stages: Stages | None = None) -> Outcome:
    """Carry out a recipe file.

    One document that no other uses is written to `out` itself; several are written to `out/NAME`.

    Args:
        recipe: path of the YAML file, or recipes that were read already.
        out: a folder, or a file that ends in `.safetensors`.

    Raises:
        LoomweightError: the recipe, a model or the output does not fit; nothing is left behind.
    """
    options, stages = options or Options(), stages or Stages()
    recipes = read_recipes(recipe) if isinstance(recipe, str | Path) else recipe
    making = Making(options.allow_nonfinite, device_of(options.device))
    done = plans(recipes, stages, making)
    targets = _targets(done, Path(out), options)
    kept = tuple(path for planned, path in targets if options.resume and is_finished(planned, _output(planned, path, options, stages)))
    _check_places(targets, [Path(recipe)] if isinstance(recipe, str | Path) else [], {path: options.overwrite or path in kept for _, path in targets})
    if options.dry_run:
        return Outcome(tuple(planned for planned, _ in targets), kept=kept)
    with Threads() if options.threads is None else Threads(options.threads):
        made = [_left(planned, path) if path in kept else _made(planned, path, options, stages, making) for planned, path in targets]
    return Outcome(tuple(made), tuple(path for _, path in targets), kept)


def _targets(done: list[Plan], out: Path, options: Options) -> list[tuple[Plan, Path]]:
    last = [one.name for one in finals([planned.recipe for planned in done])]
    ends = [planned for planned in done if planned.recipe.name in last]
    if len(ends) == 1:
        found = [(ends[0], out)]
    elif out.suffix == ".safetensors":
        raise OutputError(f"{out} is one file, and {len(ends)} documents are written: {', '.join(map(str, last))}; name a folder.")
    else:
        found = [(planned, out / str(planned.recipe.name)) for planned in ends]
    if options.middle is None:
        return found
    middle = [planned for planned in done if planned.recipe.name not in last]
    return [(planned, options.middle / str(planned.recipe.name)) for planned in middle] + found


def _check_places(targets: list[tuple[Plan, Path]], files: list[Path], overwrite: Mapping[Path, bool]) -> None:
    """Every output may be put where it shall go: apart from all inputs, the recipe's `files` too, and from the other outputs."""
    outputs = [path for _, path in targets]
    for planned, path in targets:
        others = [other for other in outputs if other != path]
        with telling(path):
            if outputs.count(path) > 1 or any(other in path.parents for other in others):
                raise OutputError(f"{path} would hold two results, or lie inside another one; name folders apart.")
            Place.at(path).check([*files, *_sources(planned)], overwrite[path])


def _sources(planned: Plan) -> list[Path]:
    recipe = planned.recipe
    adapters = [found for donor in recipe.donors if (found := adapter_home(recipe, donor))]
    donors = [Path(found) for found in [*(home(recipe, donor) for donor in recipe.donors), *adapters]]
    return [*planned.sources, *(donor for donor in donors if donor.exists())]


def _left(planned: Plan, path: Path) -> Plan:
    """The plan of an output that is finished, and stays."""
    with telling(path):
        swept(Place.at(path))
    return planned


def _made(planned: Plan, path: Path, options: Options, stages: Stages, making: Making) -> Plan:
    """The plan, carried out, with notes of what has turned out meanwhile."""
    weights = making(planned)
    output = _output(planned, path, options, stages)
    if notes := making.notes(planned.recipe):
        planned = replace(planned, notes=(*planned.notes, *notes))
        told = {name: content for name, content in stages.beside(planned).items() if name != RECORD}
        output = replace(output, files={**output.files, **told} if output.files else {})
    with bar(f"merging {path.name}", options.progress) as progress:
        write(weights, output, resume=options.resume, progress=progress)
    return planned


def _output(planned: Plan, path: Path, options: Options, stages: Stages) -> Output:
    how = f"{options.device} {options.allow_nonfinite} {options.shard_size}"
    if path.suffix == ".safetensors":
        return Output(path, options.shard_size, {"format": "pt", **marked(planned, how)}, overwrite=options.overwrite)
    return Output(path, options.shard_size, {"format": "pt"}, recorded(planned, stages.beside(planned), how), options.overwrite)
