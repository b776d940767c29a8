"""docs/FEDERATE.md: every block is run, from top to bottom in one folder, and every part stands in a table."""

import re
from pathlib import Path
from types import ModuleType

import pytest

import loomweight as lw
from loomweight.federate import Aggregate, Attack, Choose, Message, Partition, Presence, Term

from .guide import DOCS, run_guide

GUIDE = (DOCS / "FEDERATE.md").read_text()


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    page, _ = run_guide("FEDERATE.md", capsys)
    what_the_page_promises(page, tmp_path)


def what_the_page_promises(page: ModuleType, here: Path) -> None:
    assert len(page.again.history) == 5 and (here / "who.png").exists() and (here / "out" / "model.safetensors").exists()
    assert page.score(page.model)["accuracy"] > 0.8 and page.found.last("accuracy") > 0.5
    assert page.buffered.last("accuracy") > page.deadline.last("accuracy") + 0.2


def test_every_part_is_in_a_table() -> None:
    bases = (Term, Message, Aggregate, Attack, Choose, Partition, Presence)
    parts = [name for name, thing in vars(lw.federate).items() if isinstance(thing, type) and issubclass(thing, bases) and thing not in bases]
    assert len(parts) > 60
    assert not [name for name in parts if not re.search(rf"`{name}[`(]", GUIDE) and f"federate.{name}(" not in GUIDE]
