"""Every method there is, found in what the packages export: there is no list to keep.

A method is a public name whose own docstring, or that of its module, says `Paper: Title (year, link)` or `Source: ...`, or that
is an edit, a rule, or a function that makes a rule. What only serves another method says so in its own docstring, `Part of: NAME.`, and
is listed with that method, not beside it.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from types import ModuleType

from . import align, derive, edits, evaluate, evidence, federate, merge, rules, search, supernet, trajectory
from .edits import Edit
from .errors import unknown
from .federate import Aggregate, Attack, Choose, Message, Term
from .rules import Rule, Running
from .search import Predictor, Sampler
from .trajectory import Track

PACKAGES: tuple[ModuleType, ...] = (edits, rules, derive, align, evidence, evaluate, search, trajectory, supernet, federate, merge)

_PAPERS = re.compile(r"^(?:Papers?|Source):(.*?)(?:\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)
_PART = re.compile(r"^Part of: (\w+)\.?$", re.MULTILINE)
_ENTRY = re.compile(r"\s*(?P<title>.+?)\s*\((?P<year>\d{4}),\s*(?P<link>https?://[^\s)]+)\)[^;]*", re.DOTALL)


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    title: str
    year: int
    link: str


@dataclass(frozen=True)
class Method:
    """One method, as `loomweight methods` shows it."""

    name: str
    package: str
    kind: str
    summary: str
    papers: tuple[Paper, ...]
    needs: tuple[str, ...]
    parameters: tuple[str, ...]
    doc: str
    parts: tuple[str, ...] = ()


def catalog() -> list[Method]:
    """All methods, by package and name.

    >>> [(method.kind, method.papers[0].year) for method in catalog() if (method.package, method.name) == ("rules", "fisher")]
    [('rule', 2021)]
    """
    found = {(method.package, method.name): method for package in PACKAGES for method in _exported(package)}
    parts = {key: whole[1] for key, method in found.items() if (whole := _PART.search(method.doc))}
    mine = {key: tuple(name for (package, name), whole in sorted(parts.items()) if (package, whole) == key) for key in found}
    return [replace(found[key], parts=mine[key]) for key in sorted(found) if key not in parts]


def find(name: str) -> Method:
    """The method of that name, whatever its case and hyphens; an unknown one raises with the nearest names."""
    methods = {method.name: method for method in catalog()}
    wanted = snake(name)
    by_plain = {key.replace("_", ""): method for key, method in methods.items()}
    method = methods.get(wanted) or by_plain.get(wanted.replace("_", ""))
    if method is None:
        raise unknown("method", name, methods)
    return method


def snake(name: str) -> str:
    """TrimmedMean, trimmed-mean -> trimmed_mean."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-\s]+", "_", name).lower()


def _exported(package: ModuleType) -> Iterator[Method]:
    for name, thing in vars(package).items():
        if name.startswith("_") or inspect.ismodule(thing) or inspect.isabstract(thing) or not getattr(thing, "__module__", "").startswith("loomweight"):
            continue
        kind, papers = _kind(thing, package), papers_of(thing)
        if kind and (papers or kind in ("edit", "rule", "recipe")):
            doc = inspect.getdoc(thing) or ""
            yield Method(snake(name), package.__name__.rpartition(".")[2], kind, doc.partition("\n")[0], papers, _needs(thing), _parameters(thing), doc)


_KINDS = {
    "align": "alignment",
    "derive": "derivation",
    "evidence": "evidence",
    "evaluate": "evaluation",
    "federate": "federation",
    "merge": "workflow",
    "supernet": "supernet",
    "trajectory": "trajectory",
}
_BASES: dict[type, str] = {Edit: "edit", Rule: "rule", Running: "running rule", Track: "average", Sampler: "sampler", Predictor: "predictor"}
_BASES |= {Aggregate: "aggregate", Term: "client term", Message: "message", Choose: "choice of clients", Attack: "attack"}


def _kind(thing: object, package: ModuleType) -> str | None:
    if inspect.isclass(thing):
        kinds = (kind for base, kind in _BASES.items() if issubclass(thing, base))
        return next(
            kinds, _KINDS.get(package.__name__.rpartition(".")[2], "workflow") if package in (derive, supernet, federate, merge, search, trajectory) else None
        )
    if not inspect.isfunction(thing):
        return None
    return "recipe" if _returns(thing, Rule) else _KINDS.get(package.__name__.rpartition(".")[2], "function")


def _returns(function: object, base: type) -> bool:
    made = inspect.signature(function).return_annotation  # type: ignore[arg-type]
    return inspect.isclass(made) and issubclass(made, base)


def papers_of(thing: object) -> tuple[Paper, ...]:
    """The papers that a class or function names, in its own docstring or in its module's."""
    module = sys.modules[getattr(thing, "__module__", __name__)]
    for doc in (inspect.getdoc(thing), inspect.getdoc(module)):
        if listed := _PAPERS.search(doc or ""):
            entries = _ENTRY.finditer(listed.group(1).replace("\n", " "))
            return tuple(Paper(" ".join(e["title"].strip("; ").split()), int(e["year"]), e["link"]) for e in entries)
    return ()


def _needs(thing: object) -> tuple[str, ...]:
    """What must be at hand: a base model, evidence, a number of sets."""
    required = {name for name, default in _fields(thing) if default is MISSING}
    needs = ["base" for name in required if name == "base"] + ["evidence" for name in required if name in ("evidence", "grams", "masks")]
    fewest = getattr(thing, "fewest", 1)
    return (*needs, *([f"{fewest} sets"] if fewest > 1 else []))


def _parameters(thing: object) -> tuple[str, ...]:
    return tuple(name if default is MISSING else f"{name}={getattr(default, '__name__', None) or repr(default)}" for name, default in _fields(thing))


def _fields(thing: object) -> list[tuple[str, object]]:
    if is_dataclass(thing):
        return [(field.name, field.default) for field in fields(thing) if field.default_factory is MISSING]
    signature = inspect.signature(thing)  # type: ignore[arg-type]
    return [(p.name, MISSING if p.default is inspect.Parameter.empty else p.default) for p in signature.parameters.values()]
