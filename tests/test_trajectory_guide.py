"""docs/TRAJECTORY.md: every block is run, from top to bottom in one folder, and does what the page says."""

import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

import loomweight as lw

from .cli.run import run

GUIDE = (Path(__file__).parents[1] / "docs" / "TRAJECTORY.md").read_text()
BLOCKS = re.findall(r"^```(python|bash)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="the extra `demo` is not installed")
    monkeypatch.chdir(tmp_path)
    page = ModuleType("page")
    printed = ""
    with torch.random.fork_rng():
        for kind, block in BLOCKS:
            if kind == "python":
                exec(compile(block, "TRAJECTORY.md", "exec"), vars(page))
                printed += capsys.readouterr().out
            for command in block.splitlines() if kind == "bash" else []:
                ran = run(capsys, *command.split()[1:])
                assert ran.code == 0, (command, ran.err)
    last, average = (float(re.search(rf"{words} ([\d.]+)", printed)[1]) for words in ("last step", "average"))  # type: ignore[index]
    assert average < 0.8 * last
    assert lw.norm(lw.load("averaged") - page.ema.value()) == 0
    ours, mean = re.search(r"tensor\(\[([\d.]+)\]\) tensor\(\[([\d.]+)\]\)", printed).groups()  # type: ignore[union-attr]
    assert ours == mean
    assert float(printed.splitlines()[-1]) == 0
    assert lw.norm(lw.load("long") - lw.load("averaged-0.12")) == 0
    trained = page.loss()
    assert page.found.error < 0.01 and page.judge(lw.load("long")) < 0.9 * trained


def test_every_average_is_in_the_table() -> None:
    averages = {name for name, value in vars(lw.trajectory).items() if isinstance(value, type) and issubclass(value, lw.trajectory.Track)}
    assert not [name for name in averages - {"Track"} if f"`{name}(" not in GUIDE]
