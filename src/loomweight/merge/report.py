"""The report of a merge: one HTML file that needs nothing else, readable on a phone."""

import os
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from ..errors import MissingExtra, OutputError
from ..weights import Weights, load
from ..weights.disk import telling
from .card import clean_name
from .plan import Plan
from .run import Outcome
from .statistics import Layer, layers

_EXTRA = "reports need jinja2 and matplotlib; install the extra: pip install 'loomweight[report]'"
_COLORS = ("#2f6f8f", "#c8553d", "#588157", "#9a6fb0", "#d4a017", "#4a4e69", "#00897b", "#8d6e63")


def check_report(path: Path, out: Path, *, overwrite: bool = False) -> None:
    """Raise before a merge to `out` what would stop its report: nothing is merged for a report that cannot be written.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
        OutputError: the file exists, is no HTML file by its name, or has no folder to go to.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{path}: a report is an HTML file; give it a name that ends in .html.")
    if os.path.lexists(path) and (path.is_dir() or not overwrite):
        raise OutputError(f"{path} exists; name another file for the report, or use --overwrite.")
    if not path.parent.is_dir() and path.parent.absolute() != out.absolute():
        raise OutputError(f"{path}: there is no folder {str(path.parent)!r}; make it, or name another file for the report.")
    if not (find_spec("jinja2") and find_spec("matplotlib")):
        raise MissingExtra(_EXTRA)


def write_report(outcome: Outcome, path: Path, *, overwrite: bool = False) -> Path:
    """Draw what a run did; every input and output is read once.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
        OutputError: the file exists, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; name another file for the report, or use --overwrite.")
    html = render(outcome)
    fresh = path.with_name(f".{path.name}.new")
    with telling(path):
        fresh.write_text(html, "utf-8")
        fresh.replace(path)
    return path


def render(outcome: Outcome) -> str:
    """The page as text."""
    try:
        from jinja2 import Environment, PackageLoader
    except ImportError as error:
        raise MissingExtra(_EXTRA) from error
    page = Environment(loader=PackageLoader("loomweight.merge", ""), autoescape=True).get_template("report.html.j2")
    return page.render(merges=[_merge(plan, load(path)) for plan, path in zip(outcome.plans, outcome.paths, strict=True)])


def _merge(plan: Plan, output: Weights) -> dict[str, Any]:
    parts = []
    for models, found in layers(plan, output).items():
        names = [clean_name(model) for model in models]
        many = len(found) > 1
        parts.append({"models": names, "layers": found, "pictures": _pictures(names, found) if many else [], "pairs": _pairs([*names, "output"], found)})
    inputs = [(clean_name(model), held(weights), weights.nbytes) for model, weights in plan.inputs.items()]
    told = {"title": plan.recipe.name or plan.method.name, "method": plan.method.name, "notes": plan.notes}
    return told | {"inputs": inputs, "output": held(output), "bytes": output.nbytes, "parts": parts}


def held(weights: Weights) -> str:
    """How much a set holds, without its label."""
    count = sum(weights.spec[name].numel for name in weights.physical)
    dtypes = sorted({str(spec.dtype).removeprefix("torch.") for spec in weights.spec.values()})
    return f"{len(weights)} tensors, {count:,} numbers, {'/'.join(dtypes)}"


def _pairs(names: list[str], found: list[Layer]) -> list[tuple[str, list[float]]]:
    """Cosines between the differences over all layers, weighted by the layers' entries."""
    total = sum(layer.entries for layer in found)
    size = range(len(names))
    return [(names[i], [sum(layer.cosines[i][j] * layer.entries for layer in found) / total for j in size]) for i in size]


def _pictures(names: list[str], found: list[Layer]) -> list[tuple[str, str]]:
    lines = [*names, "output"]
    return [
        ("How far each model is from the base: |difference| / |base|", _drawn(found, {w: [x.distances[i] for x in found] for i, w in enumerate(lines)})),
        ("How much each model moved the output", _drawn(found, {w: [x.shares[i] for x in found] for i, w in enumerate(names)})),
        ("Entries where the models' differences point in opposite directions", _drawn(found, {"conflicts": [x.conflicts for x in found]})),
    ]


def _drawn(found: list[Layer], lines: dict[str, list[float]]) -> str:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(_EXTRA) from error
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    for (name, values), color in zip(lines.items(), _COLORS * len(lines), strict=False):
        axes.plot(range(len(values)), values, label=name, color=color, marker="." if len(values) < 60 else "", linewidth=1.4)
    axes.set_xticks([0, len(found) - 1], [found[0].name, found[-1].name], fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if len(lines) > 1:
        axes.legend(fontsize=7, frameon=False)
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
