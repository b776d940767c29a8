"""A merge that is killed or interrupted, and two merges to one output, each in a process of its own."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ..cli.run import run
from .scene import LINEAR, SLERP, TIES, everything, merged, recipe, refused, told
from .slow_merge import HURRY, on_small_grid, started

PARTIAL = Path(".out.partial")
ERRORS = Path("errors.txt")

RECIPES = {
    "linear": LINEAR,
    "slerp": SLERP + "parameters: {t: 0.3}\n",
    "dare_ties": TIES.replace("ties", "dare_ties").replace("base_model", "seed: 7\nbase_model") + "parameters: {density: 0.5}\n",
}


def done() -> int:
    """How many segments the journal claims."""
    journal = PARTIAL / "journal"
    return max(0, journal.read_text().count("\n") - 1) if journal.exists() else 0


@contextmanager
def under_way(*arguments: str, segments: int = 8, pause: float = 0.05) -> Iterator[ForkServerProcess]:
    """A merge in another process that has written some segments and is far from its end."""
    process = started(list(arguments), ERRORS, pause)
    try:
        while done() < segments:
            assert process.is_alive(), ERRORS.read_text()
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.join()


def killed(*arguments: str) -> None:
    """A merge that was killed in the middle."""
    with under_way(*arguments) as process:
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL


def finished(capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
    """A merge that goes on after another one, to its end."""
    ran = on_small_grid(lambda: run(capsys, *arguments))
    assert ran.code == 0 and ran.err == "", ran


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("method", RECIPES)
def test_killed_and_resumed_gives_the_same_bytes(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, RECIPES[method], "--shard-size", "3KB", out="whole")
    inputs = everything(Path("one")) | everything(Path("two"))
    killed("merge", "r.yaml", "out", "--threads", "2", "--shard-size", "3KB")
    assert not Path("out").exists() and PARTIAL.exists() and done() >= 8
    assert everything(Path("one")) | everything(Path("two")) == inputs
    finished(capsys, "merge", "r.yaml", "out", "--resume", "--shard-size", "3KB")
    assert everything(Path("out")) == everything(Path("whole")) and not PARTIAL.exists()


@pytest.mark.usefixtures("here")
def test_killed_in_an_overwrite_the_old_output_stands(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR)
    merged(capsys, RECIPES["slerp"], out="whole")
    old = everything(Path("out"))
    killed("merge", "r.yaml", "out", "--overwrite")
    assert everything(Path("out")) == old
    finished(capsys, "merge", "r.yaml", "out", "--overwrite", "--resume")
    assert everything(Path("out")) == everything(Path("whole")) and not PARTIAL.exists()


@pytest.mark.usefixtures("here")
def test_interrupted_it_ends_with_130_and_can_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR, out="whole")
    with under_way("merge", "r.yaml", "out", pause=0.2) as process:  # on a busy machine the signal comes late
        os.kill(process.pid or 0, signal.SIGINT)
        process.join()
    err = ERRORS.read_text()
    assert process.exitcode == 130 and "Traceback" not in err
    assert re.fullmatch(rf"interrupted; [^\n]* {re.escape(str(PARTIAL.resolve()))}: go on with [^\n]*--resume[^\n]* or delete it\.\n", err), err
    assert not Path("out").exists() and PARTIAL.exists()
    finished(capsys, "merge", "r.yaml", "out", "--resume")
    assert everything(Path("out")) == everything(Path("whole")) and not PARTIAL.exists()


@pytest.mark.usefixtures("here")
def test_without_resume_the_rest_of_a_killed_run_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR, out="whole")
    killed("merge", "r.yaml", "out")
    finished(capsys, "merge", "r.yaml", "out")
    assert everything(Path("out")) == everything(Path("whole")) and not PARTIAL.exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("change", ["recipe", "input", "shards"])
def test_the_rest_of_another_merge_is_not_resumed(change: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe(LINEAR)
    killed("merge", "r.yaml", "out")
    more = ()
    if change == "recipe":
        recipe(LINEAR.replace("weight: 1", "weight: 2", 1))
    elif change == "input":
        found = Path("one/model.safetensors").read_bytes()
        Path("one/model.safetensors").write_bytes(found[:-4] + b"\0\0\0\0")
    else:
        more = ("--shard-size", "3KB")
    refused(
        capsys,
        "merge",
        "r.yaml",
        "out",
        "--resume",
        *more,
        says=r"\.out\.partial holds an unfinished output of another plan .*delete that folder, or run without",
    )
    finished(capsys, "merge", "r.yaml", "out", *more)
    assert not PARTIAL.exists()


@pytest.mark.usefixtures("here")
def test_a_second_merge_to_the_same_output_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR, out="whole")
    with under_way("merge", "r.yaml", "out", segments=2, pause=2) as process:
        for options in ([], ["--resume"], ["--overwrite"]):
            told(run(capsys, "merge", "r.yaml", "out", *options), r"out is being written by another process; wait for it, or choose another path")
        assert process.is_alive() and done() < 20
        HURRY.touch()
        process.join()
        assert process.exitcode == 0 and ERRORS.read_text() == ""
    assert everything(Path("out")) == everything(Path("whole")) and not PARTIAL.exists()


SEVERAL = "name: first\n" + LINEAR + "---\nname: second\n" + RECIPES["slerp"]


def stopped_after_the_first() -> None:
    """A merge of `SEVERAL` that was killed when its first output was there."""
    process = started(["merge", "r.yaml", "out"], ERRORS, 0.02)
    while not Path("out/first").exists():
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_of_several_results_the_finished_ones_stay(more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, SEVERAL, out="whole")
    stopped_after_the_first()
    first = Path("out/first/model.safetensors").stat()
    refused(capsys, "merge", "r.yaml", "out", says=r"out/first exists already")
    finished(capsys, "merge", "r.yaml", "out", "--resume", *more)
    assert everything(Path("out")) == everything(Path("whole"))
    assert Path("out/first/model.safetensors").stat().st_mtime_ns == first.st_mtime_ns


@pytest.mark.usefixtures("here")
def test_what_is_all_finished_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, SEVERAL)
    before = everything(Path("out"))
    ran = run(capsys, "merge", "r.yaml", "out", "--resume", "--report", "r.html")
    assert ran.code == 0 and ran.out.count("was finished already, from just this plan; left as it is") == 2, ran
    assert everything(Path("out")) == before and Path("r.html").exists()


@pytest.mark.usefixtures("here")
def test_interrupted_before_anything_was_written_nothing_is_said_to_be_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("loomweight.weights.write"), "_prepare", interrupted)
    ran = run(capsys, "merge", recipe(LINEAR), "out")
    assert ran.code == 130 and ran.err.startswith("interrupted; no half output was left behind") and "partial" not in ran.err, ran
    assert not PARTIAL.exists()


@pytest.mark.usefixtures("here")
def test_killed_at_the_very_end_it_is_finished_and_the_rest_is_swept_away(capsys: pytest.CaptureFixture[str]) -> None:
    """The rename is done and the lock's folder is not gone yet."""
    merged(capsys, LINEAR)
    before = everything(Path.cwd())
    PARTIAL.mkdir()
    (PARTIAL / "lock").touch()
    assert "was finished already" in run(capsys, "merge", "r.yaml", "out", "--resume").out
    assert everything(Path.cwd()) == before


@pytest.mark.usefixtures("here")
def test_one_file_that_is_finished_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR, out="out.safetensors")
    before = everything(Path.cwd())
    ran = run(capsys, "merge", "r.yaml", "out.safetensors", "--resume")
    assert ran.code == 0 and "out.safetensors: was finished already, from just this plan; left as it is" in ran.out, ran
    assert everything(Path.cwd()) == before


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("change", ["recipe", "seed", "input", "options", "mark", "length"])
def test_one_finished_file_of_another_plan_is_refused(change: str, capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR, out="out.safetensors")
    more, out = ("--allow-nonfinite",) if change == "options" else (), Path("out.safetensors")
    match change:
        case "recipe":
            recipe(LINEAR.replace("weight: 1", "weight: 2", 1))
        case "seed":
            recipe(LINEAR + "seed: 1\n")
        case "input":
            data = Path("one/model.safetensors").read_bytes()
            Path("one/model.safetensors").write_bytes(data[:-4] + b"\0\0\0\0")
        case "mark":
            save_file(load_file(out), out, {"format": "pt"})
        case "length":
            out.write_bytes(out.read_bytes()[:-4])
        case _:
            pass
    refused(capsys, "merge", "r.yaml", "out.safetensors", "--resume", *more, says=r"out\.safetensors exists already; choose another path")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("change", ["recipe", "seed", "input", "side file", "options", "record", "shard", "stranger"])
def test_a_finished_output_of_another_plan_is_refused(change: str, capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR)
    more: tuple[str, ...] = ()
    out = Path("out")
    match change:
        case "recipe":
            recipe(LINEAR.replace("weight: 1", "weight: 2", 1))
        case "seed":
            recipe(LINEAR + "seed: 1\n")
        case "input":
            data = Path("one/model.safetensors").read_bytes()
            Path("one/model.safetensors").write_bytes(data[:-4] + b"\0\0\0\0")
        case "side file":
            Path("one/generation_config.json").write_text("{}")
        case "options":
            more = ("--shard-size", "3KB")
        case "record":
            (out / "loomweight.yaml").write_text(LINEAR)
        case "shard":
            (out / "model.safetensors").write_bytes((out / "model.safetensors").read_bytes()[:-4])
        case _:
            (out / "model-00001-of-00002.safetensors").write_bytes((out / "model.safetensors").read_bytes())
    refused(capsys, "merge", "r.yaml", "out", "--resume", *more, says=r"out exists already; choose another path")
