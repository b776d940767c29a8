"""`import loomweight` loads torch, safetensors and numpy, nothing heavier. How long it takes is measured by bench/import_cost.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import torch
before = set(sys.modules)
import {module}
print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}))
"""
LIGHT = {"loomweight", "safetensors", "numpy", "cython_runtime"}  # the last is a name that numpy's compiled parts leave
OF_THE_COMMAND = LIGHT | {"typer", "click", "rich", "shellingham", "markdown_it", "mdurl", "pygments", "annotated_doc", "colorama"}


def packages_loaded_by(module: str, path: Path | None = None) -> set[str]:
    """Top-level packages, the standard library aside, that importing `module` loads over `import torch`."""
    env = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    ran = subprocess.run([sys.executable, "-c", SCRIPT.format(module=module)], env=env, capture_output=True, text=True, check=True)
    return {name for name in ran.stdout.split() if name not in sys.stdlib_module_names and not name.startswith("_")}


@pytest.mark.parametrize(("module", "allowed"), [("loomweight", LIGHT), ("loomweight.cli", OF_THE_COMMAND)])
def test_nothing_heavy_is_loaded(module: str, allowed: set[str]) -> None:
    assert packages_loaded_by(module) <= allowed


USED = """
import sys
import loomweight as lw
assert {"evaluate", "evidence", "search"} <= set(dir(lw))
assert not {"loomweight.search", "loomweight.evaluate"} & set(sys.modules)
print(lw.evaluate.barrier.__name__, lw.evidence.fisher.__name__, lw.search.Study.__name__, hasattr(lw, "serach"))
"""


def test_packages_of_later_use_are_there_when_they_are_named() -> None:
    ran = subprocess.run([sys.executable, "-c", USED], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["barrier", "fisher", "Study", "False"], ran.stderr


@pytest.mark.parametrize("heavy", ["yaml", "transformers"])
def test_that_this_would_be_noticed(tmp_path: Path, heavy: str) -> None:
    """A module that does import one, though only deep inside, is reported."""
    (tmp_path / "outer.py").write_text("import loomweight\nimport inner\n")
    (tmp_path / "inner.py").write_text(f"def use(): ...\nimport {heavy}\n")
    if heavy == "transformers":  # the real one takes seconds
        (tmp_path / f"{heavy}.py").write_text("")
    assert packages_loaded_by("outer", tmp_path) - LIGHT >= {"outer", "inner", heavy}
