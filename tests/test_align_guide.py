"""docs/ALIGN.md: every block is run, from top to bottom in one folder, and does what the page says."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import loomweight as lw

from .cli.run import run

GUIDE = (Path(__file__).parents[1] / "docs" / "ALIGN.md").read_text()
BLOCKS = re.findall(r"^```(python|bash|yaml|text)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in ("nets", "train"):
        sys.modules.pop(name, None)


def test_the_page_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="the extra `demo` is not installed")
    printed: dict[str, str] = {}
    for kind, block in BLOCKS:
        file = re.match(r"# (\S+\.\w+)\n", block)
        if file:
            Path(file[1]).write_text(block)
        if kind == "text" and not file:
            assert block == printed["loomweight axes nets:mlp --example nets:inputs --verify --out mlp.axes"]
        if kind == "python" and (not file or file[1] == "train.py"):
            module = ModuleType("page")
            exec(compile(block, "ALIGN.md", "exec"), vars(module))
            printed["python"] = capsys.readouterr().out
        for command in block.splitlines() if kind == "bash" else []:
            ran = run(capsys, *command.split()[1:])
            assert ran.code == 0, (command, ran.err)
            printed[command] = ran.out
    what_the_page_promises(printed["python"], capsys)


def what_the_page_promises(printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    before, after, average, repaired = map(float, re.findall(r"[\d.]+(?:e-?\d+)?", printed))
    assert after < before / 3 and repaired < average
    heights = [json.loads(run(capsys, "barrier", "a", name, "--model", "nets:mlp", "--data", "nets:held_out", "--json").out) for name in ("b", "b-aligned")]
    assert heights[0] != heights[1]
    for name in ("b-aligned", "b-by-data", "b-by-transport"):
        assert lw.norm(lw.load(name) - lw.load("a")) < lw.norm(lw.load("b") - lw.load("a")), name
    for out, like in (("b-deeper", "deep"), ("deep-shallower", "a")):
        assert {name: spec.shape for name, spec in lw.load(out).spec.items()} == {name: spec.shape for name, spec in lw.load(like).spec.items()}
    assert accuracy("b-deeper", "deep") == accuracy("b", "mlp") > 0.85
    merged = lw.load("merged")
    mean = lw.combine([lw.load("a"), lw.load("b-aligned")], lw.rules.Mean())
    assert lw.norm(merged - mean) < 1e-5


def accuracy(weights: str, maker: str) -> float:
    import nets

    model = lw.align.loaded(getattr(nets, maker)(), lw.load(weights))
    return sum(int((model(x).argmax(-1) == y).sum()) for x, y in nets.held_out()) / sum(len(y) for _, y in nets.held_out())


def test_every_family_is_named() -> None:
    from loomweight.weights.axes.families import FAMILIES

    assert not [kind for kind in FAMILIES if f"`{kind}`" not in GUIDE]
