"""What the documents say is what is run: the quick start, the commands, the paths they name."""

import re
import tomllib
from pathlib import Path

import pytest
import torch

from loomweight.cli.app import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/BENCHMARKS.md"]


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def steps(command: str) -> list[str]:
    return [step.strip() for step in command.split("&&")]


def ci() -> list[str]:
    """What .ci/run runs: its lines but comments and the two that set the shell up."""
    lines = (ROOT / ".ci/run").read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]


def made(target: str) -> list[str]:
    """The recipe of a Makefile's target, run with .venv."""
    recipe = re.search(rf"^{target}:\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert recipe, target
    return [line.strip().replace("$(BIN)", ".venv/bin").replace("$(PYTHON)", ".venv/bin/python") for line in recipe[1].splitlines()]


def test_the_quick_start_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source, _, _ = fenced("python")
    assert len(source.splitlines()) <= 22
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(source, "README.md", "exec"), names)
    assert "moved by" in capsys.readouterr().out
    # what the recipe says, by hand: the largest fifth of each difference, those of the elected sign averaged
    for name in names["start"]:
        base = names["start"][name]
        kept = [trimmed(names[who][name] - base) for who in ("cats", "dogs")]
        elected = (kept[0] + kept[1]).sign()
        agreeing = [delta * (delta.sign() == elected) for delta in kept]
        count = sum((delta != 0).float() for delta in agreeing)
        expected = base + (agreeing[0] + agreeing[1]) / count.clamp(min=1)
        assert (names["again"][name] - expected).abs().max() < 1e-6, name


def test_the_example_of_a_supernet_runs() -> None:
    _, source, _ = fenced("python")
    names: dict = {}
    with torch.random.fork_rng():
        exec(compile(source, "README.md", "exec"), names)
    width = names["found"].best.parameters["width 0"]
    assert sum(parameter.numel() for parameter in names["plain"].parameters()) == 11 * width + 2 <= 200  # 8 in, 2 out, both biases
    assert type(names["plain"]) is torch.nn.Sequential and names["plain"][0].out_features == width


def test_the_example_of_a_federation_runs() -> None:
    _, _, source = fenced("python")
    names: dict = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(source, "README.md", "exec"), names)
    history = names["found"].history
    assert len(history) == 5 and history[-1]["loss"] < history[0]["loss"] and history[-1]["pooled"] == 10


def trimmed(delta, keep: float = 0.2):
    """The largest entries of a tensor, the rest zero."""
    count = max(1, int(keep * delta.numel()))
    floor = delta.abs().flatten().sort(descending=True).values[count - 1]
    return delta * (delta.abs() >= floor)


def test_the_two_commands_are_the_ones_that_ci_and_make_run() -> None:
    demo, test = (steps(block) for block in fenced("bash"))
    assert ci() == test[:-1] + made("check")
    assert made("check")[-1:] == test[-1:] == made("test")
    assert demo[-1] == ".venv/bin/loomweight demo"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for install in (demo[1], test[1]):
        asked = re.fullmatch(r"\.venv/bin/pip install -q -c constraints\.txt -e '\.\[(\w+)\]'", install)
        assert asked
        assert asked[1] in extras


def test_every_command_that_is_named_exists() -> None:
    named = set(re.findall(r"`loomweight (\w+)", "".join((ROOT / name).read_text() for name in DOCUMENTS)))
    assert named <= set(COMMANDS)
    assert not [name for name in COMMANDS if not (ROOT / "src/loomweight/cli" / f"{name}.py").exists()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_is_named_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"`((?:src|tests|bench|docs)/[\w./]+)`", text)
    linked = [path for path in re.findall(r"\]\(([^)#:]+)\)", text) if not path.startswith("http")]
    assert not [path for path in named if not (ROOT / path).exists()]
    assert not [path for path in linked if not ((ROOT / document).parent / path).exists()]


def test_every_package_has_ten_lines_of_its_own() -> None:
    packages = [path.parent for path in (ROOT / "src/loomweight").glob("*/__init__.py")]
    readmes = {package.name: (package / "README.md").read_text().splitlines() for package in packages}
    assert not {name: len(lines) for name, lines in readmes.items() if not 5 <= len(lines) <= 15}
