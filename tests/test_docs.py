"""The site builds without a warning and has every public name on it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import loomweight
from loomweight import rules, weights

ROOT = Path(__file__).parents[1]


def test_the_site_is_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for package in (rules, weights, loomweight.errors):
        page = tmp_path / "site" / "packages" / package.__name__.rpartition(".")[2] / "index.html"
        shown = set(re.findall(rf'id="{re.escape(package.__name__)}(?:\.\w+)?\.(\w+)"', page.read_text()))
        public = {name for name, value in vars(package).items() if isinstance(value, type) and value.__module__.startswith(package.__name__)}
        assert public <= shown
    assert "Model soups" in (tmp_path / "site/methods/index.html").read_text()
