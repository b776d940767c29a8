"""A study that was killed goes on as if it had not been."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loomweight.errors import BadParameter, BrokenFile, OutputError
from loomweight.search import Choice, Float, Int, Space, Study, Values

NUMBERS = Space({"x": Float(-1, 2), "rate": Float(1e-3, 1, log=True), "n": Int(0, 9)})
MIXED = Space({"x": Float(-1, 2), "method": Choice(("a", 1, True, None))})
CASES = [
    ("cmaes", NUMBERS, ("min",)),
    ("cmaes", Space({"x": Float(-1, 2)}), ("min",)),
    ("tpe", MIXED, ("max",)),
    ("tpe", NUMBERS, ("max", "min")),
    ("nsga2", MIXED, ("max", "min")),
    ("random", MIXED, ("max",)),
]


def scores(values: Values, count: int) -> list[float]:
    x = values["x"]
    return [(x - 0.3) ** 2 + 0.01 * len(repr(values.get("method", values.get("n")))), -x][:count]


@pytest.mark.parametrize(("sampler", "space", "objectives"), CASES)
def test_cut_anywhere_it_asks_the_same(tmp_path: Path, sampler: str, space: Space, objectives: tuple[str, ...]) -> None:
    """Cut the file after any entry, and in the middle of one: the rest of the study is the same to the last bit."""

    def study(name: str) -> Study:
        return Study(space, objectives, sampler=sampler, seed=5, storage=tmp_path / name, population=6 if sampler != "tpe" else None)

    def whole(name: str) -> Study:
        with study(name) as running:
            return running.run(lambda v: scores(v, len(objectives)), 26, progress=False)

    truth = whole("whole").trials
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 2 * 26
    for cut in (1, 2, 3, 14, 27, 40, 52, 53):
        torn = b"".join(lines[:cut]) + (lines[cut][:-7] if cut < len(lines) else b"")
        (tmp_path / "cut").write_bytes(torn)
        assert whole("cut").trials == truth
        assert (tmp_path / "cut").read_bytes() == b"".join(lines)


def test_without_the_past_it_asks_otherwise(tmp_path: Path) -> None:
    """The twin of the test above: what is asked does depend on what was told."""
    asked = []
    for slope in (1, -1):
        study = Study(NUMBERS, ("min",), sampler="cmaes", seed=5, population=6)
        study.run(lambda v, slope=slope: slope * v["x"], 26, progress=False)
        asked.append([trial.parameters for trial in study.trials])
    assert asked[0][:6] == asked[1][:6]
    assert asked[0][8:] != asked[1][8:]


def test_open_trials_are_handed_out_again_in_their_order(tmp_path: Path) -> None:
    with Study(NUMBERS, seed=1, storage=tmp_path / "s") as study:
        asked = [study.ask() for _ in range(4)]
        study.tell(1, 0.5)
        study.fail(2, "out of memory")
    with Study(NUMBERS, seed=1, storage=tmp_path / "s") as again:
        assert again.trials[1].values == (0.5,)
        assert again.trials[2].failure == "out of memory"
        assert [again.ask(), again.ask()] == [asked[0], asked[3]]
        assert again.ask()[0] == 4


def test_infinite_values_survive(tmp_path: Path) -> None:
    with Study(NUMBERS, storage=tmp_path / "s") as study:
        study.tell(study.ask()[0], float("-inf"))
    with Study(NUMBERS, storage=tmp_path / "s") as again:
        assert again.trials[0].values == (float("-inf"),)


PROGRAM = """
import sys, time
from loomweight.search import Float, Space, Study
study = Study(Space({"x": Float(0, 1), "y": Float(0, 1)}), seed=3, storage=sys.argv[1])
def slow(values):
    print(len(study.trials), flush=True)
    time.sleep(0.02)
    return values["x"]
study.run(slow, 30)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_for_real(tmp_path: Path, sent: signal.Signals) -> None:
    path = tmp_path / "study"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "12":
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
    with pytest.raises(OutputError, match="another process works on the study"):
        Study(Space({"x": Float(0, 1), "y": Float(0, 1)}), seed=3, storage=path)
    process.send_signal(sent)
    process.communicate(timeout=60)
    space = Space({"x": Float(0, 1), "y": Float(0, 1)})
    with Study(space, seed=3, storage=path) as again:
        assert sum(trial.finished for trial in again.trials) >= 11
        again.run(lambda v: v["x"], 30, progress=False)
    assert again.trials == Study(space, seed=3).run(lambda v: v["x"], 30, progress=False).trials


def test_an_edited_past_is_kept_as_it_is_told(tmp_path: Path) -> None:
    """The file is the truth: a value that the sampler would not have drawn (another version of it, say) is not changed."""
    path = tmp_path / "s"
    with Study(NUMBERS, seed=1, storage=path) as study:
        study.run(lambda v: v["x"], 3, progress=False)
    lines = path.read_text().splitlines()
    entry = json.loads(lines[3])
    entry["values"]["x"] = 1.25
    path.write_text("\n".join([*lines[:3], json.dumps(entry), *lines[4:]]) + "\n")
    with Study(NUMBERS, seed=1, storage=path) as again:
        assert again.trials[1].parameters["x"] == 1.25
        assert again.ask()[0] == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 2}, "holds another study: its seed is 1, not 2"),
        ({"sampler": "random"}, "its sampler is 'cmaes', not 'random'"),
        ({"objectives": ("min",)}, "its objectives is"),
        ({"space": MIXED, "sampler": "tpe"}, "its space is"),
    ],
)
def test_a_file_of_another_study(tmp_path: Path, change: dict[str, object], words: str) -> None:
    same: dict[str, object] = {"space": NUMBERS, "objectives": ("max",), "sampler": "cmaes", "seed": 1, "storage": tmp_path / "s"}
    Study(**same).close()
    before = (tmp_path / "s").read_bytes()
    with pytest.raises(BadParameter, match=words):
        Study(**(same | change))
    assert (tmp_path / "s").read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda lines: [b"SQLite format 3\n"], "line 1: this is not an entry"),
        (lambda lines: [*lines[:2], b"{]\n", *lines[3:]], "line 3: this is not an entry"),
        (lambda lines: [*lines[:1], *lines[2:]], "line 2: this does not follow"),
        (lambda lines: [*lines, b'{"tell": 0, "values": [1.0]}\n'], "line 8: this does not follow"),
        (lambda lines: [*lines, b'{"ask": 3, "values": {"x": 99, "rate": 0.1, "n": 1}}\n'], r"line 8: .*x = 99 is not in"),
        (lambda lines: [*lines, b'{"note": 3}\n'], "line 8: this does not follow"),
    ],
)
def test_damaged_files_are_refused_and_left_alone(tmp_path: Path, damage: "type[list]", words: str) -> None:
    path = tmp_path / "s"
    with Study(NUMBERS, seed=1, storage=path) as study:
        study.run(lambda v: v["x"], 3, progress=False)
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    before = path.read_bytes()
    with pytest.raises(BrokenFile, match=words):
        Study(NUMBERS, seed=1, storage=path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        Study(NUMBERS, storage=tmp_path / "none" / "study")
