"""docs/FEDERATE.md: every block is run, from top to bottom in one folder, and every part stands in a table."""

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import loomweight as lw
from loomweight.federate import Aggregate, Attack, Choose, Message, Partition, Presence, Term

from .cli.run import run

GUIDE = (Path(__file__).parents[1] / "docs" / "FEDERATE.md").read_text()
BLOCKS = re.findall(r"^```(python|bash|yaml)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop("digits_here", None)


def test_the_page_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="the extra `demo` is not installed")
    page = ModuleType("page")
    with torch.random.fork_rng():
        for kind, block in BLOCKS:
            if file := re.match(r"# (\S+\.\w+)\n", block):
                Path(file[1]).write_text(block)
            elif kind == "python":
                exec(compile(block, "FEDERATE.md", "exec"), vars(page))
            for command in block.splitlines() if kind == "bash" else []:
                ran = run(capsys, *shlex.split(command)[1:])
                assert ran.code == 0, (command, ran.err)
    what_the_page_promises(page, here)


def what_the_page_promises(page: ModuleType, here: Path) -> None:
    assert len(page.again.history) == 5 and (here / "who.png").exists() and (here / "out" / "model.safetensors").exists()
    assert page.score(page.model)["accuracy"] > 0.8 and page.found.last("accuracy") > 0.5
    assert page.buffered.last("accuracy") > page.deadline.last("accuracy") + 0.2


def test_every_part_is_in_a_table() -> None:
    bases = (Term, Message, Aggregate, Attack, Choose, Partition, Presence)
    parts = [name for name, thing in vars(lw.federate).items() if isinstance(thing, type) and issubclass(thing, bases) and thing not in bases]
    assert len(parts) > 60
    assert not [name for name in parts if not re.search(rf"`{name}[`(]", GUIDE) and f"federate.{name}(" not in GUIDE]
