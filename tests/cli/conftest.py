"""A working folder with networks in it, whose module `nets` is forgotten afterwards."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .networks import write_networks


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_networks(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("nets", None)
