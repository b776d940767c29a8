"""docs/SUPERNET.md: every block is run, from top to bottom in one folder, and does what the page says."""

from pathlib import Path
from types import ModuleType

import pytest

import loomweight as lw
from loomweight.supernet import KINDS, Sampler, Step

from .guide import DOCS, run_guide

GUIDE = (DOCS / "SUPERNET.md").read_text()


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    what_the_page_promises(*run_guide("SUPERNET.md", capsys))


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
