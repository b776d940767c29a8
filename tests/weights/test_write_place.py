"""Where an output may go, that it appears whole or not at all, and that nothing else is damaged or left behind."""

import errno
import os
import resource
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import loomweight as lw
from loomweight.engines import Inline
from loomweight.errors import OutputError
from loomweight.weights import Output, Weights, place, write
from loomweight.weights.lock import claimed
from loomweight.weights.place import Place

from .sets_to_write import small_grid, written

ONE = {"w": torch.arange(6.0)}
TWO = {"a": torch.ones(4), "b": torch.zeros(4)}


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below, with its content; hidden ones too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@contextmanager
def refused(folder: Path, words: str) -> Iterator[None]:
    """The body raises an `OutputError` with these words, and not a byte below `folder` changes."""
    before = listing(folder)
    with pytest.raises(OutputError, match=words):
        yield
    assert listing(folder) == before


def test_an_output_that_exists_is_left_alone(tmp_path: Path) -> None:
    lw.save(ONE, tmp_path / "out")
    lw.save(ONE, tmp_path / "out.safetensors")
    for name in ("out", "out.safetensors"):
        with refused(tmp_path, f"{name} exists already; choose another path, or overwrite it with overwrite=True"):
            lw.save(TWO, tmp_path / name)


@pytest.mark.parametrize("swaps", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("sizes", [(None, 16), (16, None), (16, 16)], ids=["one to shards", "shards to one", "shards to shards"])
def test_overwriting_leaves_nothing_of_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: bool, sizes) -> None:
    out = tmp_path / "out"
    write({**TWO, "c": torch.ones(4)}, Output(out, shard_size=sizes[0], files={"old.txt": b"old"}))
    if not swaps:
        monkeypatch.setattr(place, "_exchanged", lambda one, two: False)
    write(TWO, Output(out, shard_size=sizes[1], files={"new.txt": b"new"}, overwrite=True))
    assert set(written(out)) == {"a", "b"}
    assert {path.name for path in out.iterdir() if "model" not in path.name} == {"new.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_overwriting_one_file(tmp_path: Path) -> None:
    lw.save(ONE, tmp_path / "out.safetensors")
    lw.save(TWO, tmp_path / "out.safetensors", overwrite=True)
    assert set(load_file(tmp_path / "out.safetensors")) == {"a", "b"}
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]


def test_the_old_output_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    lw.save(ONE, tmp_path / "out")
    old = listing(tmp_path / "out")

    def open_(name: str):
        assert listing(tmp_path / "out") == old
        raise lw.errors.NonFinite("tensor 'w' holds NaN")

    with refused_by(lw.errors.NonFinite, tmp_path):
        lw.save(Weights({"w": lw.Spec((3,), torch.float32)}, open_), tmp_path / "out", overwrite=True)


@contextmanager
def refused_by(error: type[Exception], folder: Path) -> Iterator[None]:
    before = listing(folder)
    with pytest.raises(error):
        yield
    assert listing(folder) == before


def test_a_crash_between_two_renames_is_mended_by_the_next_run(tmp_path: Path) -> None:
    lw.save(ONE, tmp_path / "out")
    old = listing(tmp_path / "out")
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / "out").rename(tmp_path / ".out.partial" / "aside")
    with pytest.raises(OutputError, match="exists already"):
        lw.save(TWO, tmp_path / "out")
    assert listing(tmp_path) == {f"out/{name}": content for name, content in old.items()}


@pytest.mark.parametrize("content", [{"notes.txt": "dear"}, {"model.safetensors": "x", ".git/HEAD": "ref"}], ids=["no weights", "git"])
def test_a_folder_of_something_else_is_never_overwritten(tmp_path: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(text)
    with refused(tmp_path, "so it is not overwritten"):
        lw.save(ONE, tmp_path / "out", overwrite=True)


def test_the_working_folder_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lw.save(ONE, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    with refused(tmp_path, "is the working folder"):
        lw.save(TWO, ".", overwrite=True)


def test_file_and_folder_are_not_mistaken(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b.safetensors").mkdir()
    with refused(tmp_path, "a is a file, and the output is a folder"):
        lw.save(ONE, tmp_path / "a", overwrite=True)
    with refused(tmp_path, "b.safetensors is a folder, and the output is a file"):
        lw.save(ONE, tmp_path / "b.safetensors", overwrite=True)


def test_inputs_and_outputs_stay_apart(tmp_path: Path) -> None:
    inputs = lw.load(lw.save(TWO, tmp_path / "in" / "model", shard_size=16))
    (tmp_path / "link").symlink_to(tmp_path / "in" / "model")
    for path, words in [
        ("in/model", "in/model is an input"),
        ("link", "in/model is an input"),
        ("in/model/out", "the output .*in/model/out lies inside the input .*in/model;"),
        ("in/model/new.safetensors", "lies inside the input"),
        ("in", "the input .*in/model lies inside the output .*in;"),
    ]:
        for overwrite in (False, True):
            with refused(tmp_path, words):
                lw.save(0.5 * inputs, tmp_path / path, overwrite=overwrite)


def test_an_input_file_is_not_its_own_output(tmp_path: Path) -> None:
    source = lw.save(ONE, tmp_path / "w.safetensors")
    with refused(tmp_path, "is an input"):
        lw.save(lw.load(source), source, overwrite=True)
    assert lw.save(lw.load(source), tmp_path / "other.safetensors").read_bytes() == source.read_bytes()


def test_parents_are_made_links_followed_and_empty_folders_taken(tmp_path: Path) -> None:
    assert lw.save(ONE, tmp_path / "a" / "b" / "out").is_dir()
    (tmp_path / "empty").mkdir()
    lw.save(ONE, tmp_path / "empty")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    lw.save(ONE, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and set(written(tmp_path / "elsewhere")) == {"w"}


def test_no_permission_is_a_message(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    nobody, me = 65534, os.geteuid()
    try:
        if me == 0:
            os.seteuid(nobody)
        with pytest.raises(OutputError, match=r"no permission to write .*out .*; choose another path"):
            lw.save(ONE, tmp_path / "out")
    finally:
        os.seteuid(me)
        tmp_path.chmod(0o700)
    assert not list(tmp_path.iterdir())


def test_a_mount_point_cannot_be_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with refused(tmp_path, "is a mount point"):
        lw.save(ONE, tmp_path / "out")
    with pytest.raises(OutputError, match="name a folder in it"):
        lw.save(ONE, "/")


def test_a_second_run_to_one_output_is_refused_at_once(tmp_path: Path) -> None:
    with claimed(Place.at(tmp_path / "out")):
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with refused(tmp_path, "out is being written by another process"):
                lw.save(ONE, tmp_path / "out", **options)
    lw.save(ONE, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_output_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def open_(name: str):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "precious").write_text("x")
        return lambda lo, hi: torch.zeros(hi - lo)

    with pytest.raises(
        OutputError,
        match=r"exists already.*What is done is kept in .*\.out\.partial: go on with resume=True "
        r"\(--resume on the command line\), or delete it",
    ):
        lw.save(Weights({"w": lw.Spec((3,), torch.float32)}, open_), tmp_path / "out")
    assert (tmp_path / "out" / "precious").read_text() == "x"


def test_two_folders_change_names_in_one_step(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux is asked to")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("x")
    assert place._exchanged(tmp_path / "one", tmp_path / "two")
    assert listing(tmp_path) == {"one/two": b"x", "two/one": b"x"}
    assert not place._exchanged(tmp_path / "one", tmp_path / "nowhere")


def test_too_little_room_is_known_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_(name: str):
        raise AssertionError("data was read")

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(place.shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 5000, 5000))
    weights = Weights({"w": lw.Spec((1000, 1000), torch.bfloat16)}, open_)
    with refused(tmp_path, r"the disk of .* is too full for .*out: 0\.002 GB needed, 5,000 bytes free"):
        lw.save(weights, tmp_path / "new" / "out")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_in_the_middle_can_be_resumed(small_disk: Path) -> None:
    rows = {f"w{i}": torch.full((1 << 17,), float(i)) for i in range(6)}  # 3 MiB, 0.5 each
    filler = small_disk / "filler"

    def open_(name: str):
        if name == "w3" and not filler.exists():
            filler.write_bytes(b"x" * (2 << 20))
        return lambda lo, hi: rows[name][lo:hi]

    weights = Weights({name: lw.Spec((1 << 17,), torch.float32) for name in rows}, open_, origin=("rows", 1))
    with small_grid(1 << 15, 1 << 15), Inline():
        with pytest.raises(
            OutputError,
            match=r"the disk is full: .*out cannot be completed; make room.*go on with resume=True "
            r"\(--resume on the command line\), or delete it",
        ):
            lw.save(weights, small_disk / "out")
        assert not (small_disk / "out").exists()
        with pytest.raises(OutputError, match="is too full"):  # known at once now
            lw.save(weights, small_disk / "out", resume=True)
        filler.write_bytes(b"")
        lw.save(weights, small_disk / "out", resume=True)
    stored = load_file(small_disk / "out" / "model.safetensors")
    assert all(torch.equal(stored[name], row) for name, row in rows.items())


def test_a_limit_on_the_size_of_files_is_a_message(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with refused(tmp_path, "grows larger than the file system or a limit allows; choose a smaller shard_size"):
            lw.save({"a": torch.ones(1 << 18), "b": torch.ones(1 << 18)}, tmp_path / "out")
        lw.save({"a": torch.ones(200_000), "b": torch.ones(200_000)}, tmp_path / "out", shard_size="0.9MB")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert set(written(tmp_path / "out")) == {"a", "b"}


def test_a_disk_that_fails_on_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match=r"out cannot be written: .*Input/output error"):
        lw.save(ONE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_error_of_an_input_is_not_taken_for_one_of_the_output(tmp_path: Path) -> None:
    def open_(name: str):
        raise FileNotFoundError("the input went away")

    with refused_by(FileNotFoundError, tmp_path):
        lw.save(Weights({"w": lw.Spec((3,), torch.float32)}, open_), tmp_path / "out")
