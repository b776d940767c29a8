"""docs/SUPERNET.md: every block is run, from top to bottom in one folder, and does what the page says."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import loomweight as lw
from loomweight.supernet import KINDS, Sampler, Step

from .cli.run import run

GUIDE = (Path(__file__).parents[1] / "docs" / "SUPERNET.md").read_text()
BLOCKS = re.findall(r"^```(python|bash|yaml)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    sys.modules.pop("nets", None)


def test_the_page_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="the extra `demo` is not installed")
    page, printed = ModuleType("page"), ""
    with torch.random.fork_rng():
        for kind, block in BLOCKS:
            if file := re.match(r"# (\S+\.\w+)\n", block):
                Path(file[1]).write_text(block)
            elif kind == "python":
                exec(compile(block, "SUPERNET.md", "exec"), vars(page))
                printed += capsys.readouterr().out
            for command in block.splitlines() if kind == "bash" else []:
                ran = run(capsys, *command.split()[1:])
                assert ran.code == 0, (command, ran.err)
    what_the_page_promises(page, printed)


def what_the_page_promises(page: ModuleType, printed: str) -> None:
    net, best = page.net, page.found.best
    assert page.found.cost(best).params <= 8000 and page.found.cost(best).flops <= 3e5
    assert page.accuracy(net.max(), page.test) > 0.85 and page.accuracy(best.parameters, page.test) > 0.7
    small = lw.load("small")
    assert {name: spec.shape for name, spec in small.spec.items()} == {n: tuple(t.shape) for n, t in page.plain.state_dict().items()}
    assert type(page.plain).__name__ == "Net" and "differs from the subnet by 0.0" in printed
    assert "architectures" in printed and "params" in str(page.report)
    assert "0.weight <- Sum(0.derived.weight.weight, 0.derived.weight.down, 0.derived.weight.up)" in printed


def test_every_kind_step_and_sampler_is_in_a_table() -> None:
    assert not [kind for kind in KINDS if f"`{kind}" not in GUIDE]
    parts = [
        name for name, thing in vars(lw.supernet).items() if isinstance(thing, type) and issubclass(thing, Step | Sampler) and thing not in (Step, Sampler)
    ]
    assert len(parts) > 10
    assert not [name for name in parts if f"`{name}" not in GUIDE and f"{name}(" not in GUIDE]
