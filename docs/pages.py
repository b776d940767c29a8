"""Pages that are made while the site is built: from the repository's own documents, from docstrings, from the list of methods.

MkDocs calls `on_config` and `on_files`. Nothing that it makes is kept in the repository, so nothing can be out of date.
"""

import importlib
import pkgutil
import re
from pathlib import Path
from types import FunctionType, ModuleType

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
DOCUMENTS = {"README.md": "index.md", "ARCHITECTURE.md": "architecture.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
#: `loomweight --help` is the page of the command and its demo; shapes are for annotations
WITHOUT_PAGE = {"__main__", "cli", "demo", "shapes"}
#: packages in the order of the tutorial; a new one comes after these by itself
FIRST = [
    "weights",
    "edits",
    "rules",
    "align",
    "evidence",
    "evaluate",
    "search",
    "trajectory",
    "derive",
    "supernet",
    "federate",
    "merge",
    "methods",
    "engines",
    "errors",
]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Say in which order the pages come."""
    packages = [f"packages/{name}.md" for name in sorted(modules(), key=lambda name: (name not in FIRST, [*FIRST, name].index(name)))]
    documents = [target for target in DOCUMENTS.values() if target not in ("index.md", "changelog.md")]
    config.nav = [
        "index.md",
        {"Recipes": "RECIPES.md"},
        {"Aligning": "ALIGN.md"},
        {"Averages along a run": "TRAJECTORY.md"},
        {"Supernets": "SUPERNET.md"},
        {"Federate": "FEDERATE.md"},
        "methods.md",
        {"Packages": packages},
        *documents,
        {"Benchmarks": "BENCHMARKS.md"},
        "changelog.md",
    ]
    return config


def modules() -> list[str]:
    """What has a page: every package and module of loomweight but a few."""
    found = pkgutil.iter_modules(importlib.import_module("loomweight").__path__)
    return [info.name for info in found if info.name not in WITHOUT_PAGE]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those in docs/."""
    pages = {target: document(ROOT / source) for source, target in DOCUMENTS.items()}
    pages |= {f"packages/{name}.md": reference(importlib.import_module(f"loomweight.{name}")) for name in modules()}
    pages["methods.md"] = methods()
    for target, content in pages.items():
        files.append(File.generated(config, target, content=content))
    return files


def document(path: Path) -> str:
    """One of the repository's documents, its links to others turned into links between pages."""
    text = path.read_text()
    for source, target in DOCUMENTS.items():
        text = text.replace(f"]({source}", f"]({target}")
    text = text.replace("](docs/", "](")
    return re.sub(r"\[([^]]+)\]\((?!https?:|#|[\w-]+\.md)[^)]+\)", r"\1", text)  # a link into the source becomes its words


def reference(package: ModuleType) -> str:
    """A page of a package: its docstring, then every public name."""
    name = package.__name__
    head = ["---", f"title: {name.rpartition('.')[2]}", "---", "", f"# {name}", ""]
    module = [f"::: {name}", "    options:", "      members: false", "      show_root_heading: false", "      show_root_toc_entry: false", ""]
    return "\n".join([*head, *module, *(f"::: {path(package, public)}\n" for public in names(package))])


def path(package: ModuleType, public: str) -> str:
    """Where a public name is found: in its package, but in its file where the file has the same name."""
    module = vars(package)[public].__module__
    return f"{module}.{public}" if module == f"{package.__name__}.{public}" else f"{package.__name__}.{public}"


def names(package: ModuleType) -> list[str]:
    """The classes and functions that a package exports; of a module, those it defines."""
    own = {name: value for name, value in vars(package).items() if not name.startswith("_") and isinstance(value, type | FunctionType)}
    prefix = package.__name__ if hasattr(package, "__path__") else f"{package.__name__}."
    return [name for name, value in own.items() if f"{value.__module__}.".startswith(prefix)]


def methods() -> str:
    """The table that `loomweight methods` prints."""
    from loomweight.methods import catalog

    head = ["# Methods", "", "`loomweight methods NAME` tells more.", "", "| method | package | kind | what it does | paper |", "|---|---|---|---|---|"]
    rows = [
        f"| {method.name} | {method.package} | {method.kind} | {cell(method.summary)} | "
        f"{'; '.join(f'[{cell(paper.title)}]({paper.link}) ({paper.year})' for paper in method.papers)} |"
        for method in catalog()
    ]
    return "\n".join([*head, *rows])


def cell(text: str) -> str:
    """Text that stays in its cell of a table."""
    return text.replace("|", r"\|").replace("\n", " ")
