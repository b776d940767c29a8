"""Interrupted writing: what is done is verified and kept, what is missing or damaged is computed again, and nothing else."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import loomweight as lw
from loomweight.engines import Inline, Threads
from loomweight.errors import NonFinite, OutputError
from loomweight.weights import Output, Weights, write

from . import slow_save
from .sets_to_write import bits, small_grid, written

ROWS = {"a": torch.arange(40.0), "b": torch.arange(30).bfloat16(), "c": torch.ones(3, 3), "d": torch.tensor(2), "e": torch.randn(17, 2).half()}

BLOCKS = sum(-(-row.numel() // 4) for row in ROWS.values())  # on the small grid


class Interrupted:
    """The tensors of ROWS; reading raises `error` once `fuse` blocks were read."""

    def __init__(self, fuse: int, error: BaseException | None = None, origin: object = "rows") -> None:
        self.left, self.error = fuse, error or KeyboardInterrupt()
        self.opened: list[str] = []
        spec = {name: lw.Spec(tuple(row.shape), row.dtype) for name, row in ROWS.items()}
        self.weights = Weights(spec, self.open, origin=(origin,))

    def open(self, name: str):
        self.opened.append(name)

        def read(lo: int, hi: int) -> torch.Tensor:
            self.left -= 1
            if self.left < 0:
                raise self.error
            return ROWS[name].reshape(-1)[lo:hi]

        return read


def interrupted(out: Path, fuse: int, shard_size: int | None = 100) -> None:
    with small_grid(), Inline(), pytest.raises(KeyboardInterrupt):
        lw.save(Interrupted(fuse).weights, out, shard_size=shard_size)


def resumed(out: Path, shard_size: int | None = 100) -> list[str]:
    """Go on; the tensors that had to be opened."""
    rest = Interrupted(10**6)
    with small_grid():
        lw.save(rest.weights, out, shard_size=shard_size, resume=True)
    assert written(out) == {name: bits(row) for name, row in ROWS.items()}
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    return rest.opened


def test_an_interrupt_leaves_what_can_be_resumed(tmp_path: Path) -> None:
    interrupted(tmp_path / "out", fuse=11)  # biggest first: the ten blocks of "a" are read, and one of the next
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]
    assert sorted(resumed(tmp_path / "out")) == ["b", "c", "d", "e"]


def test_nothing_done_is_nothing_left(tmp_path: Path) -> None:
    interrupted(tmp_path / "new" / "out", fuse=0)
    assert not list(tmp_path.iterdir())


def test_nothing_to_resume_is_a_start(tmp_path: Path) -> None:
    assert sorted(resumed(tmp_path / "out")) == sorted(ROWS)


@settings(max_examples=40)
@given(
    fuses=st.lists(st.integers(1, BLOCKS + 5), max_size=3),
    threads=st.integers(1, 4),
    damage=st.sampled_from(["none", "flip", "zero", "cut", "remove", "torn"]),
    place=st.integers(0, 10**6),
)
def test_any_number_of_interruptions_and_any_damage(fuses: list[int], threads: int, damage: str, place: int) -> None:
    with TemporaryDirectory() as folder, Threads(threads), small_grid():
        out = Path(folder, "out")
        for fuse in fuses:
            try:
                lw.save(Interrupted(fuse).weights, out, shard_size=100, resume=True)
            except KeyboardInterrupt:
                continue
            break
        if (Path(folder) / ".out.partial").exists():
            harm(Path(folder) / ".out.partial", damage, place)
        if not out.exists():
            resumed(out)


def harm(partial: Path, damage: str, place: int) -> None:
    files = sorted((partial / "output").glob("*.safetensors"))
    file = files[place % len(files)]
    data = bytearray(file.read_bytes())
    at = place % len(data)
    if damage == "remove":
        file.unlink()
    elif damage == "torn":
        journal = partial / "journal"
        journal.write_bytes(journal.read_bytes()[: 66 + place % 60])
    elif damage != "none":
        data[at:] = {"flip": bytes([data[at] ^ 1]) + data[at + 1 :], "zero": bytes(len(data) - at), "cut": b""}[damage]
        file.write_bytes(data)


def test_only_what_is_damaged_is_computed_again(tmp_path: Path) -> None:
    interrupted(tmp_path / "out", fuse=BLOCKS - 1, shard_size=None)  # the last block, that of "d", is not read
    file = tmp_path / ".out.partial" / "output" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 128  # the end of the last tensor in the file: widest dtype first, so a half precision one, "e"
    file.write_bytes(data)
    assert sorted(resumed(tmp_path / "out", shard_size=None)) == ["d", "e"]


def test_swapped_segments_are_noticed(tmp_path: Path) -> None:
    interrupted(tmp_path / "out", fuse=11, shard_size=None)
    file = tmp_path / ".out.partial" / "output" / "model.safetensors"
    raw = file.read_bytes()
    one, two = bits(ROWS["a"][:8]), bits(ROWS["a"][8:16])
    file.write_bytes(raw.replace(one + two, two + one))
    assert file.read_bytes() != raw
    assert "a" in resumed(tmp_path / "out", shard_size=None)


@pytest.mark.parametrize("other", [{"dtype": "float16"}, {"shard_size": 50}, {"metadata": {"x": "y"}}], ids=str)
def test_the_rest_of_another_plan_is_not_resumed(tmp_path: Path, other: dict) -> None:
    interrupted(tmp_path / "out", fuse=20)
    plan = {"shard_size": 100, "resume": True} | other
    with (
        small_grid(),
        pytest.raises(OutputError, match=r"\.out\.partial holds an unfinished output of another plan .*delete that folder, or run without resume"),
    ):
        lw.save(Interrupted(99).weights, tmp_path / "out", **plan)
    assert "a" not in resumed(tmp_path / "out")  # and the rest is still there


def test_other_inputs_are_another_plan(tmp_path: Path) -> None:
    interrupted(tmp_path / "out", fuse=20)
    for weights in (Interrupted(99, origin="other rows").weights, Weights.of(ROWS)):
        with small_grid(), pytest.raises(OutputError, match="another plan"):
            lw.save(weights, tmp_path / "out", shard_size=100, resume=True)


def test_sets_in_memory_are_never_resumed_by_another_process(tmp_path: Path) -> None:
    """Two processes may hold different numbers under the same names."""
    script = "import os, torch, loomweight as lw; child = os.fork(); child and os.wait(); print(lw.Weights.of({'w': torch.ones(1)}).fingerprint)"
    one, two = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert one != two


def test_without_resume_the_rest_is_replaced(tmp_path: Path) -> None:
    interrupted(tmp_path / "out", fuse=20)
    fresh = Interrupted(10**6)
    with small_grid():
        lw.save(fresh.weights, tmp_path / "out")
    assert sorted(fresh.opened) == sorted(ROWS)
    assert written(tmp_path / "out") == {name: bits(row) for name, row in ROWS.items()}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_errors_of_the_data_leave_nothing(tmp_path: Path) -> None:
    with small_grid(), pytest.raises(NonFinite):
        lw.save(Interrupted(20, NonFinite("tensor 'e' holds NaN")).weights, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_side_files_of_the_first_run_do_not_leak_into_the_second(tmp_path: Path) -> None:
    with small_grid(), Inline(), pytest.raises(KeyboardInterrupt):
        write(Interrupted(20).weights, Output(tmp_path / "out", 100, files={"old.json": b"old", "both.json": b"a longer one"}))
    with small_grid():
        write(Interrupted(99).weights, Output(tmp_path / "out", 100, files={"both.json": b"new"}), resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if "model" not in path.name} == {"both.json": b"new"}


def test_an_interrupt_while_reporting_progress_stops_the_threads(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 100:
            raise KeyboardInterrupt

    rest = Interrupted(10**6)
    with small_grid(), Threads(4), pytest.raises(KeyboardInterrupt):
        write(rest.weights, Output(tmp_path / "out", 100), progress=stop)
    read = rest.left
    time.sleep(0.05)
    assert rest.left == read
    resumed(tmp_path / "out")


def process(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.weights.slow_save", *map(str, arguments)], cwd=Path(__file__).parents[2])


def words(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_killed_in_the_middle_and_resumed(tmp_path: Path) -> None:
    """SIGKILL, a second run refused meanwhile, a resume; the bytes are those of a run that nothing disturbed."""
    out, journal = tmp_path / "killed", tmp_path / ".killed.partial" / "journal"
    first = process(out, tmp_path / "first", 0.05)
    try:
        while len(words(journal)) < 9:
            assert first.poll() is None
            time.sleep(0.01)
        with pytest.raises(OutputError, match="is being written by another process"):
            lw.save(ROWS, out)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert not out.exists()
    done = len(words(journal)) - 1
    slow_save.main(str(out), str(tmp_path / "second"), "0", "resume")
    slow_save.main(str(tmp_path / "whole"), str(tmp_path / "third"), "0")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "killed", "second", "third", "whole"]
    read_again = {line for line in words(tmp_path / "second") if line.startswith("read")}
    whole = {line for line in words(tmp_path / "third") if line.startswith("read")}
    assert done >= 8 and len(whole) - len(read_again) >= done
    assert {line for line in words(tmp_path / "second") if line.startswith("open")} < {line for line in words(tmp_path / "third") if line.startswith("open")}
