"""A guide of docs/: every block is run, from top to bottom in the working folder."""

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from .cli.run import run

DOCS = Path(__file__).parents[1] / "docs"


def run_guide(name: str, capsys: pytest.CaptureFixture[str]) -> tuple[ModuleType, str]:
    """What the page's Python blocks have left, and what they printed. A block that begins with `# file.ext` is that file."""
    pytest.importorskip("sklearn", reason="the extra `demo` is not installed")  # the pages learn its digits
    page, printed, files = ModuleType("page"), "", []
    sys.path.insert(0, str(Path.cwd()))
    try:
        with torch.random.fork_rng():
            for kind, block in re.findall(r"^```(python|bash|yaml)\n(.*?)^```", (DOCS / name).read_text(), re.DOTALL | re.MULTILINE):
                if file := re.match(r"# (\S+\.\w+)\n", block):
                    files.append(Path(file[1]))
                    files[-1].write_text(block)
                elif kind == "python":
                    exec(compile(block, name, "exec"), vars(page))
                    printed += capsys.readouterr().out
                for command in block.splitlines() if kind == "bash" else []:
                    ran = run(capsys, *shlex.split(command)[1:])
                    assert ran.code == 0, (command, ran.err)
    finally:
        sys.path.remove(str(Path.cwd()))
        for file in files:
            sys.modules.pop(file.stem, None)
    return page, printed
