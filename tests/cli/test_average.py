"""`loomweight average`: what it makes of a run that is over, what it says, and what it refuses."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import loomweight as lw
from loomweight.rules import Mean, combine
from loomweight.trajectory import PostHocEMA, Power, Snapshots, synthesise

from ..weights.sets_to_write import small_grid
from .networks import tiny
from .run import Ran, run

JUDGE = """
import torch
calls = []
def loss(weights):
    calls.append(1)
    return float((weights["w"].float() - 5.3).square().mean())
def nothing(weights): return float("nan")
def stops(weights): raise KeyboardInterrupt
"""


def point(step: int) -> dict[str, torch.Tensor]:
    """Weights that grow with the step, with noise in them, a counter and an integer that stays."""
    noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
    return {"w": step / 100 + 0.1 * noise, "bn.num_batches_tracked": torch.tensor(step), "positions": torch.arange(3)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a run of ten checkpoint folders, and a judge."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for step in range(100, 1100, 100):
        folder = tmp_path / f"run/checkpoint-{step}"
        lw.save(point(step), folder)
        (folder / "config.json").write_text(json.dumps({"model_type": "made", "step": step}))
        (folder / "tokenizer.json").write_text("{}")
        torch.save({"state": {}}, folder / "optimizer.pt")
        (folder / "trainer_state.json").write_text("{}")
    (tmp_path / "run/trainer.log").write_text("")
    (tmp_path / "judge.py").write_text(JUDGE)
    yield tmp_path
    import sys

    sys.modules.pop("judge", None)


def average(capsys: pytest.CaptureFixture[str], *options: object, folder: str = "run", out: str = "out") -> Ran:
    return run(capsys, "average", folder, out, *options)


def refused(ran: Ran, *words: str) -> None:
    assert ran.code == 2, ran
    assert "Traceback" not in ran.err and all(word in ran.err for word in words), ran.err
    assert not Path("out").exists() and not list(Path().glob(".*partial"))


def mean(*steps: int) -> torch.Tensor:
    return torch.stack([point(step)["w"].double() for step in steps]).mean(0).float()


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (("--last", 3), (800, 900, 1000)),
        (("--last", 10), tuple(range(100, 1100, 100))),
        (("--every", 4), (200, 600, 1000)),
        (("--every", 3, "--last", 2), (700, 1000)),
        (("--last", 1), (1000,)),
    ],
)
@pytest.mark.usefixtures("here")
def test_the_mean_of_the_checkpoints_that_were_named(options: tuple[object, ...], steps: tuple[int, ...], capsys) -> None:
    """Sorted as numbers, not as words: 1000 is the last one."""
    ran = average(capsys, *options)
    assert ran.code == 0, ran.err
    made = lw.load("out")
    assert torch.allclose(made["w"], mean(*steps), atol=1e-6)
    assert made["bn.num_batches_tracked"].item() == 1000 and torch.equal(made["positions"], torch.arange(3))
    assert f"last {len(steps)} checkpoints" in ran.out or len(steps) == 1


@pytest.mark.usefixtures("here")
def test_older_checkpoints_fade_as_an_ema_would_have_it(capsys) -> None:
    assert average(capsys, "--ema", 2).code == 0
    weights = [2 ** (-age / 2) for age in range(9, -1, -1)]
    wanted = combine([point(step) for step in range(100, 1100, 100)], Mean(tuple(weights)), integers="first")
    assert torch.allclose(lw.load("out")["w"], wanted["w"], atol=1e-6)


@pytest.mark.usefixtures("here")
def test_files_of_the_last_checkpoint_come_along_and_a_card_says_what_was_made(capsys) -> None:
    assert average(capsys, "--last", 2).code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert json.loads(Path("out/config.json").read_text())["step"] == 1000
    card = Path("out/README.md").read_text()
    assert "the mean of the last 2 checkpoints" in card and "| checkpoint-900 | 0.5 |" in card and "# Average of run" in card
    assert str(Path.cwd()) not in card


@pytest.mark.usefixtures("here")
def test_one_file_of_another_dtype(capsys) -> None:
    assert average(capsys, "--last", 2, "--dtype", "bfloat16", "--threads", 1, out="out.safetensors").code == 0
    assert lw.load("out.safetensors").spec["w"].dtype == torch.bfloat16
    assert torch.equal(lw.load("out.safetensors")["w"], mean(900, 1000).bfloat16())


@pytest.mark.usefixtures("here")
def test_a_dry_run_says_what_would_be_averaged_and_writes_nothing(capsys) -> None:
    ran = average(capsys, "--last", 2, "--dry-run")
    assert ran.code == 0 and not Path("out").exists()
    assert "run: checkpoint folders; the mean of the last 2 checkpoints" in ran.out
    assert "0.500000  checkpoint-900" in ran.out and "0.500000  checkpoint-1000" in ran.out
    assert "left alone: checkpoint-100, " in ran.out or "trainer.log" in ran.out


def test_a_model_of_transformers_runs_as_it_came(here: Path, capsys) -> None:
    """Checkpoints as its `Trainer` leaves them; the average loads with from_pretrained and is the mean."""
    transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
    sizes = {"vocab_size": 20, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
    for step in (5, 10):
        model = tiny("GPT2LMHeadModel", here / f"gpt/checkpoint-{step}", **sizes)
        with torch.no_grad():
            model.transformer.wte.weight.mul_(step)
        model.save_pretrained(here / f"gpt/checkpoint-{step}")
    assert average(capsys, "--last", 2, folder="gpt").code == 0
    loaded = transformers.AutoModelForCausalLM.from_pretrained("out")
    parts = [transformers.AutoModelForCausalLM.from_pretrained(here / f"gpt/checkpoint-{step}") for step in (5, 10)]
    assert torch.allclose(loaded.transformer.wte.weight, (parts[0].transformer.wte.weight + parts[1].transformer.wte.weight) / 2)
    assert loaded.lm_head.weight is loaded.transformer.wte.weight


@pytest.mark.parametrize("kind", ["lightning", "lightning with an average", "torch", "safetensors"])
def test_files_with_step_numbers(here: Path, kind: str, capsys) -> None:
    Path("files").mkdir()
    for step in (90, 100, 1000):
        weights = {"w": torch.full((2, 2), float(step))}
        match kind:
            case "lightning":
                held = {"epoch": step // 100, "global_step": step, "state_dict": weights, "optimizer_states": [{}], "hyper_parameters": {"lr": 1.0}}
                torch.save(held, f"files/epoch={step // 100}-step={step}.ckpt")
                torch.save(held, "files/last.ckpt")
            case "lightning with an average":
                torch.save({"state_dict": weights, "trained_state_dict": {"w": torch.zeros(2, 2)}}, f"files/epoch={step // 100}-step={step}.ckpt")
            case "torch":
                torch.save(weights, f"files/model_v2_{step}.pt")
            case _:
                lw.save(weights, f"files/model.{step:06}.safetensors")
    ran = average(capsys, "--last", 2, folder="files")
    assert ran.code == 0, ran.err
    assert lw.load("out")["w"].unique().tolist() == [550.0]
    assert sorted(path.name for path in Path("out").iterdir()) == ["README.md", "model.safetensors"]


@pytest.mark.usefixtures("here")
def test_the_loss_of_each_number_of_checkpoints_and_the_best_is_written(capsys) -> None:
    """The loss is least where the mean of w is 5.3: all ten give 5.5."""
    ran = average(capsys, "--last", "1,5,10", "--eval", "judge:loss", "--plot", "curve.png")
    assert ran.code == 0, ran.err
    rows = [line for line in ran.out.splitlines() if "│" in line]
    assert [row.split("│")[1].strip() for row in rows] == ["1", "5", "10"] and "best" in rows[-1]
    assert torch.allclose(lw.load("out")["w"], mean(*range(100, 1100, 100)), atol=1e-6)
    assert Path("curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("here")
def test_one_number_is_judged_beside_smaller_ones_and_is_what_is_written(capsys) -> None:
    ran = average(capsys, "--last", "7", "--eval", "judge:loss")
    assert [line.split("│")[1].strip() for line in ran.out.splitlines() if "│" in line] == ["1", "2", "5", "7"]
    assert torch.allclose(lw.load("out")["w"], mean(*range(400, 1100, 100)), atol=1e-6)


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty moments of a noisy run with drift."""
    folder = tmp_path_factory.mktemp("run") / "kept"
    net = nn.Linear(3, 4, bias=False)
    posthoc = PostHocEMA(net, every=10, folder=folder)
    for step in range(300):
        net.weight.data = step / 50 + torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        posthoc.update()
    return folder


@pytest.fixture
def snapshots(here: Path, thirty: Path) -> Path:
    """A copy of these snapshots."""
    return Path(shutil.copytree(thirty, here / "kept"))


def test_a_length_out_of_snapshots(snapshots: Path, capsys) -> None:
    ran = average(capsys, "--posthoc", "--length", 0.12, folder="kept")
    assert ran.code == 0, ran.err
    assert torch.equal(lw.load("out")["weight"], synthesise(snapshots, 0.12)["weight"])
    assert "the power average of length 0.12 after 300 samples, out of 60 snapshots" in ran.out
    assert "Relative error of the weighting: 0.0" in Path("out/README.md").read_text()


def test_at_an_earlier_time_and_what_a_dry_run_says(snapshots: Path, capsys) -> None:
    ran = average(capsys, "--posthoc", "--length", 0.1, "--at", 200, "--dry-run", folder="kept")
    assert "1.000000  snapshot-000000000200-0.1000.safetensors" in ran.out and "error of the weighting 0;" in ran.out and not Path("out").exists()


def test_a_sweep_over_lengths(snapshots: Path, capsys) -> None:
    Path("judge.py").write_text(JUDGE.replace('"w"', '"weight"'))
    ran = average(capsys, "--posthoc", "--length", "0.05,0.1,...,0.25", "--eval", "judge:loss", "--plot", "curve.svg", folder="kept")
    assert ran.code == 0, ran.err
    rows = [line.split("│") for line in ran.out.splitlines() if "│" in line]
    assert [row[1].strip() for row in rows] == ["0.05", "0.1", "0.15", "0.2", "0.25"]
    losses = {float(row[1]): float((synthesise(snapshots, float(row[1]))["weight"] - 5.3).square().mean()) for row in rows}
    assert [float(row[2]) for row in rows] == pytest.approx(list(losses.values()), rel=1e-4)  # the table prints five digits
    chosen = min(losses, key=lambda length: losses[length])
    assert torch.equal(lw.load("out")["weight"], synthesise(snapshots, chosen)["weight"])
    assert "Loss over length" in Path("curve.svg").read_text() or Path("curve.svg").stat().st_size > 1000


def test_a_length_that_the_snapshots_cannot_give_well_is_told(snapshots: Path, capsys) -> None:
    error = Snapshots.of(snapshots).reconstruct(0.01).error
    assert f"off by {error:.0%} of its norm" in average(capsys, "--posthoc", "--length", 0.01, folder="kept").err


def test_averaged_statistics_are_told(here: Path, capsys) -> None:
    for step in (1, 2):
        lw.save(nn.BatchNorm1d(2), f"norms/step-{step}.safetensors")
    assert "statistics of batch normalizations" in average(capsys, "--last", 2, folder="norms").err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "say which to average: --last K, --every N or --ema HALF_LIFE"),
        (("--last", 0), "from 1 to 10"),
        (("--last", 11), "holds 10 checkpoints; give a number from 1 to 10"),
        (("--last", 4, "--every", 3, "--last", 5), "run holds 10 checkpoints, and one in every 3 makes 4"),
        (("--last", "x"), "--last takes numbers"),
        (("--last", "1.5"), "whole number, found 1.5"),
        (("--last", "1,5"), "add --eval module:function"),
        (("--every", 0), "from 1 to 10"),
        (("--every", 11), "from 1 to 10"),
        (("--ema", 0), "half_life must be a positive number"),
        (("--ema", "1,2", "--last", "2,3", "--eval", "judge:loss"), "give one --last"),
        (("--posthoc", "--length", 0.1), "run holds checkpoint folders, and a length is one of averages out of snapshots"),
        (("--posthoc",), "--posthoc and --length go together"),
        (("--length", 0.1), "--posthoc and --length go together"),
        (("--posthoc", "--length", 0.1, "--last", 3), "give one of the two"),
        (("--last", 3, "--at", 5), "--at is a time"),
        (("--last", 3, "--only", "model-*"), "nothing in run is called 'model-*'"),
        (("--last", 3, "--dtype", "float15"), "no floating dtype named 'float15'"),
        (("--last", 3, "--plot", "a.png"), "--plot draws losses"),
        (("--last", 3, "--eval", "judge:loss", "--plot", "a.jpg"), "a picture ends in .png"),
        (("--last", 3, "--eval", "judge:lost"), "nearest: 'loss'"),
        (("--last", 3, "--eval", "judge:nothing"), "no average has a finite loss"),
        (("--last", 3, "--threads", 0), "threads must be at least 1"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_is_mistyped_is_explained(options: tuple[object, ...], words: str, capsys) -> None:
    refused(average(capsys, *options), words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--posthoc", "--length", 0.3), "at most 0.2887"),
        (("--posthoc", "--length", 0), "found 0"),
        (("--posthoc", "--length", "0.1,...,0.2"), "'...' stands between two numbers"),
        (("--posthoc", "--length", "0.1,0.13,...,0.2"), "even steps of 0.03 do not lead from 0.13 to 0.2"),
        (("--posthoc", "--length", "0.1,0.1"), "stands there twice"),
        (("--posthoc", "--length", 0.1, "--at", 301), "nothing is known of 301"),
        (("--last", 3), "are averages themselves; choose with --posthoc --length"),
        ((), "say how long the average is"),
    ],
)
@pytest.mark.usefixtures("snapshots")
def test_what_is_mistyped_of_snapshots_is_explained(options: tuple[object, ...], words: str, capsys) -> None:
    refused(average(capsys, *options, folder="kept"), words)


@pytest.mark.usefixtures("here")
def test_a_missing_or_truncated_file_is_named(capsys) -> None:
    file = Path("run/checkpoint-900/model.safetensors")
    os.truncate(file, file.stat().st_size - 3)
    refused(average(capsys, "--last", 3), "run/checkpoint-900/model.safetensors")
    file.unlink()
    refused(average(capsys, "--last", 3), "checkpoint-900", "optimizer.pt")
    Path("run/checkpoint-900/optimizer.pt").unlink()
    refused(average(capsys, "--last", 3), "checkpoint-900: no weights")
    assert average(capsys, "--last", 1).code == 0  # which does not need it


@pytest.mark.usefixtures("here")
def test_adapters_are_left_to_recipes(capsys) -> None:
    Path("run/checkpoint-900/adapter_config.json").write_text("{}")
    refused(average(capsys, "--last", 3), "run/checkpoint-900 holds an adapter", "`merge_method: linear` over BASE+ADAPTER")


@pytest.mark.usefixtures("here")
def test_a_missing_shard_is_named(capsys) -> None:
    shutil.rmtree("run/checkpoint-900")
    big = {"w": point(900)["w"], "bn.num_batches_tracked": torch.tensor(900), "positions": torch.arange(3)}
    lw.save(big, "run/checkpoint-900", shard_size=50)
    assert average(capsys, "--last", 3, out="fine").code == 0
    Path("run/checkpoint-900/model-00001-of-00002.safetensors").unlink()
    refused(average(capsys, "--last", 3), "model-00001-of-00002.safetensors")


@pytest.mark.usefixtures("here")
def test_a_truncated_lightning_file_is_named(capsys) -> None:
    Path("files").mkdir()
    for step in (1, 2):
        torch.save({"state_dict": {"w": torch.zeros(100)}}, f"files/step={step}.ckpt")
    os.truncate("files/step=2.ckpt", 300)
    refused(average(capsys, "--last", 2, folder="files"), "files/step=2.ckpt: not a whole torch file")


@pytest.mark.parametrize("change", ["names", "shape", "integers", "dtype", "nan"])
@pytest.mark.usefixtures("here")
def test_a_checkpoint_of_another_model_is_named(change: str, capsys) -> None:
    other = point(900)
    match change:
        case "names":
            other["more"] = torch.zeros(1)
        case "shape":
            other["w"] = torch.zeros(3, 3)
        case "integers":
            other["positions"] += 1
        case "dtype":
            other["w"] = other["w"].half()
        case _:
            other["w"][1, 2] = torch.nan
    lw.save(other, "run/checkpoint-900", overwrite=True)
    refused(average(capsys, "--last", 3), {"names": "more", "integers": "positions"}.get(change, "'w'"), "" if change == "dtype" else "checkpoint-900")


@pytest.mark.usefixtures("here")
def test_folders_that_are_no_run_are_explained(capsys) -> None:
    refused(average(capsys, "--last", 3, folder="rum"), "no such file or folder: 'rum'; near it: 'run'")
    refused(average(capsys, "--last", 3, folder="run/checkpoint-100/model.safetensors"), "is a file, not the folder of a run")
    Path("empty").mkdir()
    refused(average(capsys, "--last", 3, folder="empty"), "holds no checkpoints of a run", "it holds nothing")
    refused(average(capsys, "--last", 3, folder="."), "'run' below it holds some")
    lw.save({"a": torch.zeros(9), "b": torch.zeros(9)}, "sharded", shard_size=40)
    refused(average(capsys, "--last", 1, folder="sharded"), "holds no checkpoints of a run", "model-00001-of-00002.safetensors")


@pytest.mark.usefixtures("here")
def test_mixed_kinds_are_refused_and_only_chooses(capsys) -> None:
    for step in (10, 20):
        lw.save(point(step), f"run/model-{step}.safetensors")
    kinds = "10 checkpoint folders such as checkpoint-100; 2 safetensors files such as model-10.safetensors"
    refused(average(capsys, "--last", 2), kinds, "--only 'checkpoint-*'")
    assert average(capsys, "--last", 2, "--only", "model-*").code == 0
    assert torch.allclose(lw.load("out")["w"], mean(10, 20), atol=1e-6)


@pytest.mark.usefixtures("here")
def test_two_checkpoints_of_one_step_are_refused(capsys) -> None:
    Path("files").mkdir()
    for name in ("epoch=1-step=7.ckpt", "epoch=2-step=7.ckpt"):
        torch.save({"state_dict": {"w": torch.zeros(1)}}, f"files/{name}")
    refused(average(capsys, "--last", 2, folder="files"), "two checkpoints of step 7, epoch=1-step=7.ckpt and epoch=2-step=7.ckpt")


def test_snapshots_without_their_partners_are_refused(snapshots: Path, capsys) -> None:
    next(snapshots.glob("*100-0.1000*")).unlink()
    refused(average(capsys, "--posthoc", "--length", 0.1, folder="kept"), "snapshot-000000000100-0.1000.safetensors is missing")
    for file in snapshots.glob("*-0.1000*"):
        file.unlink()
    refused(average(capsys, "--posthoc", "--length", 0.1, folder="kept"), "30 snapshots of the length 0.0500 and of no other")


@pytest.mark.usefixtures("here")
def test_an_output_that_exists_or_lies_in_the_run_is_refused(capsys) -> None:
    assert average(capsys, "--last", 2, out="there").code == 0
    before = Path("there/model.safetensors").read_bytes()
    ran = average(capsys, "--last", 3, out="there")
    assert ran.code == 2 and "there exists already" in ran.err and Path("there/model.safetensors").read_bytes() == before
    assert average(capsys, "--last", 3, "--overwrite", out="there").code == 0
    assert torch.allclose(lw.load("there")["w"], mean(800, 900, 1000), atol=1e-6)
    for inside in ("run", "run/averaged", "run/checkpoint-1000/averaged", "run/checkpoint-1000", "."):
        ran = average(capsys, "--last", 3, "--overwrite", out=inside)
        assert ran.code == 2 and "input" in ran.err, (inside, ran)
    assert len(list(Path("run").iterdir())) == 11


@pytest.mark.usefixtures("here")
def test_an_interrupted_average_goes_on(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    from loomweight.weights import journal

    mark, done = journal.Journal.mark, []

    def interrupted(self: journal.Journal, number: int, digest: int) -> None:
        mark(self, number, digest)
        done.append(number)
        if len(done) == 2:
            raise KeyboardInterrupt

    with small_grid(8, 8, 8):
        assert average(capsys, "--last", 4, "--threads", 1, out="whole").code == 0
        with monkeypatch.context() as patch:
            patch.setattr(journal.Journal, "mark", interrupted)
            ran = average(capsys, "--last", 4, "--threads", 1)
        assert ran.code == 130 and "--resume" in ran.err and not Path("out").exists() and Path(".out.partial").exists()
        done.clear()
        ran = average(capsys, "--last", 3, "--resume")
        assert ran.code == 2 and "another plan" in ran.err
        assert average(capsys, "--last", 4, "--resume").code == 0
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == {path.name: path.read_bytes() for path in Path("whole").iterdir()}
    assert not Path(".out.partial").exists()


@pytest.mark.usefixtures("here")
def test_an_evaluation_that_is_interrupted_leaves_nothing(capsys) -> None:
    assert average(capsys, "--last", 2, "--eval", "judge:stops").code == 130
    assert not Path("out").exists() and not Path(".out.partial").exists()


def test_a_run_whose_power_average_is_known(snapshots: Path) -> None:
    """The twin of `test_a_length_out_of_snapshots`: another length is another average."""
    assert not torch.equal(synthesise(snapshots, 0.12)["weight"], synthesise(snapshots, 0.13)["weight"])
    assert Snapshots.of(snapshots).lengths == pytest.approx([Power.of_length(0.05).length, 0.1])
