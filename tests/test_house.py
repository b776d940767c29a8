"""The house rules that a syntax tree can show, each with a twin that shows it can fail."""

import ast
import statistics
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from . import house

SRC = Path(__file__).parents[1] / "src" / "loomweight"
TREES = {path.relative_to(SRC).as_posix(): ast.parse(path.read_text(), str(path)) for path in sorted(SRC.rglob("*.py"))}
PURE = ("rules/", "edits/")


@dataclass(frozen=True)
class Ban:
    """What a finder must find in `bad` and let pass in `good`; where it looks, and which files may all the same, with the reason."""

    finder: house.Finder
    bad: str
    good: str
    where: tuple[str, ...] = ("",)
    allowed: Mapping[str, str] = field(default_factory=dict)


BANS = [
    Ban(
        house.imports_of_what_runs_code,
        "import pickle\npickle.loads(data)",
        "import pickle\ntry: ...\nexcept pickle.UnpicklingError: ...",
    ),
    Ban(house.loads_that_run_code, "torch.load(path, weights_only=False)", "torch.load(path, mmap=True, weights_only=True)"),
    Ban(
        house.forwarded_kwargs,
        "def f(**more): return g(1, **more)",
        "def f(**more): return g(more)",
        allowed={"supernet/elastic.py": "a module's forward takes what the model in it takes", "supernet/choice.py": "the same"},
    ),
    Ban(
        house.global_randomness,
        "torch.rand(3)",
        "with torch.random.fork_rng():\n    torch.rand(3, generator=g)",
        allowed=dict.fromkeys(
            ("supernet/run/train.py", "federate/trainer.py"), "torch's dropout and initialisation know no other source; the caller's numbers are put back"
        ),
    ),
    Ban(house.files_touched, "def f(path):\n    with open(path) as file: ...", "reader.open(name)", where=PURE),
    Ban(house.weight_files_written, "save_file({}, path)", "lw.save(w, path)", allowed={"weights/write.py": "the writer"}),
    Ban(house.narrowing_casts, "x.to(torch.bfloat16)", "x.to(torch.float32)"),
    Ban(house.heavy_at_module_level, "try:\n    import optuna\nexcept ImportError: ...", "def f():\n    import optuna"),
    Ban(
        house.isinstance_ladders,
        "def f(x):\n    if isinstance(x, A): ...\n    elif isinstance(x, B): ...\n    return 1 if isinstance(x, C) else 2",
        "def f(x, y):\n    if isinstance(x, A) or isinstance(x, B) or isinstance(x, C): ...\n    elif isinstance(y, A): ...",
    ),
    Ban(house.future_annotations, "from __future__ import annotations", "from future import annotations"),
    Ban(
        house.too_many_arguments,
        "def f(a, b, c, d, *, e, g, h, i): ...",
        "def f(self, a, b, c, d, *, e, g, h): ...",
        allowed=dict.fromkeys(
            (f"cli/{name}.py" for name in ("merge", "align", "average", "barrier", "federate", "supernet", "tune")), "Typer: an option is an argument"
        )
        | {"supernet/attention.py": "the signature of torch's own attention"},
    ),
]
every_ban = pytest.mark.parametrize("ban", BANS, ids=lambda ban: ban.finder.__name__)


@every_ban
def test_the_source_keeps_it(ban: Ban) -> None:
    found = {name: ban.finder(tree) for name, tree in TREES.items() if name.startswith(ban.where) and name not in ban.allowed}
    assert not [f"src/loomweight/{name}:{line}" for name, lines in found.items() for line in lines]


@every_ban
def test_that_it_can_fail(ban: Ban) -> None:
    assert ban.finder(ast.parse(ban.bad))
    assert not ban.finder(ast.parse(ban.good))
    assert any(name.startswith(ban.where) for name in TREES)
    assert set(ban.allowed) <= set(TREES)


def test_no_room_for_odds_and_ends() -> None:
    assert not [name for name in TREES if Path(name).stem.strip("_") in {"util", "utils", "helper", "helpers", "common", "misc"}]


def test_files_are_short() -> None:
    lengths = {path.relative_to(SRC).as_posix(): len(path.read_text().splitlines()) for path in SRC.rglob("*.py")}
    assert not {name: n for name, n in lengths.items() if n > 400}
    assert statistics.median(lengths.values()) < 100


def test_functions_are_short() -> None:
    lengths = {f"{name}:{f.name}": house.code_lines(f) for name, tree in TREES.items() for f in house.functions(tree)}
    assert not {name: n for name, n in lengths.items() if n > 60}
    median, *_ = statistics.quantiles(lengths.values(), n=2)
    assert median <= 8
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 25


def test_how_lines_are_counted() -> None:
    source = '''
        def f(x):
            """One
            two."""

            # a remark
            y = [
                x,
            ]
            return y
    '''
    (function,) = house.functions(ast.parse(textwrap.dedent(source)))
    assert house.code_lines(function) == 5
