"""`loomweight supernet`: trained, searched and exported from the command line, and what it refuses."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import loomweight as lw

from .run import Ran, run

NETS = """
import torch
from torch import nn
g = torch.Generator().manual_seed(0)
X, Y = torch.randn(40, 6, generator=g), torch.randint(0, 3, (40,), generator=g)
def mlp(): return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
def batches(epoch): return [(X[:20], Y[:20]), (X[20:], Y[20:])][:: 1 if epoch % 2 else -1]
def held_out(): return [(X[:20], Y[:20]), (X[20:], Y[20:])]
def half(): return [(X[:20], Y[:20])]
def nothing(): return []
def wild(): return [(X * float("nan"), Y)] * 2
"""
TRAIN = ("supernet", "train", "net", "--model", "nets_here:mlp", "--space", "space.yaml", "--data", "nets_here:batches", "--epochs", "2")


Say = Callable[..., Ran]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    return partial(run, capsys)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "nets_here.py").write_text(NETS)
    (tmp_path / "space.yaml").write_text("width:\n  '0': [2, 4, 8]\n  '3': [0.5, 1.0]\n")
    yield tmp_path
    import sys

    sys.modules.pop("nets_here", None)


def test_from_training_to_a_plain_network(here: Path, say: Say) -> None:
    trained = say(*TRAIN)
    assert trained.code == 0
    assert "6 networks" in trained.err
    searched = say("supernet", "search", "net", "--data", "nets_here:held_out", "--trials", "6", "--sampler", "random", "--limit", "params<=130")
    assert searched.code == 0
    assert "report: net/report.md" in searched.out
    front = json.loads((here / "net" / "front.json").read_text())
    exported = say("supernet", "export", "net", "small", "--trial", str(front[0]["trial"]), "--data", "nets_here:held_out")
    assert exported.code == 0
    told = json.loads((here / "small" / "architecture.json").read_text())
    state = {name: torch.as_tensor(tensor) for name, tensor in lw.load("small").items()}
    width, second = told["architecture"]["width 0"], told["architecture"]["width 3"]
    plain = nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, second), nn.ReLU(), nn.Linear(second, 3))
    plain.load_state_dict(state)
    import nets_here  # type: ignore[import-not-found]

    accuracy = (plain.eval()(nets_here.X).argmax(-1) == nets_here.Y).float().mean().item()
    assert accuracy == pytest.approx(front[0]["accuracy"])
    assert f"accuracy {accuracy:.4f}" in exported.out
    assert told["params"] == sum(p.numel() for p in plain.parameters()) <= 130


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*TRAIN[:-2], "--step", "triple"), "--step is sandwich or single"),
        ((*TRAIN[:-3], "nets_here:nothing"), "gives no batch"),
        ((*TRAIN[:6], "width 0 : 2 16", *TRAIN[7:]), "8 units"),
        ((*TRAIN[:6], "width nowhere : 2 8", *TRAIN[7:]), "names no width"),
        ((*TRAIN[:4], "nets_here:nlp", *TRAIN[5:]), "nearest: 'mlp'"),
        (("supernet", "search", "net", "--data", "nets_here:held_out"), "holds no supernet"),
        (("supernet", "export", "net", "out"), "say which subnet"),
        (("supernet", "search", "net", "--data", "nets_here:held_out", "--engine", "threads"), "cannot be judged in threads"),
    ],
)
def test_what_it_refuses(here: Path, say: Say, words: tuple[str, ...], said: str) -> None:
    ended = say(*words)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not (here / "net").exists()


def test_mistakes_about_a_run_that_is_there(here: Path, say: Say) -> None:
    assert say(*TRAIN).code == 0
    for words, said in [
        (TRAIN, "holds a run already; --resume goes on"),
        ((*TRAIN[:-1], "3", "--resume"), "epochs was 2, is 3"),
        (("supernet", "export", "net", "out", "--choose", "width 0=5"), "allowed: 2, 4, 8"),
        (("supernet", "export", "net", "out", "--choose", "widht 0=4"), "nearest: 'width 0'"),
        (("supernet", "export", "net", "out", "--trial", "3"), "was not searched"),
        (("supernet", "search", "net", "--data", "nets_here:held_out", "--limit", "params=10"), "a sign and a number"),
        (("supernet", "search", "net", "--data", "nets_here:held_out", "--limit", "params<=10"), "the smallest params seen is"),
        (("supernet", "search", "net", "--data", "nets_here:held_out", "--limit", "parms<=100"), "params"),
    ]:
        ended = say(*words)
        assert (ended.code, said in ended.err) == (2, True), ended.err
    assert not (here / "out").exists()
    file = here / "net" / "training.safetensors"
    file.write_bytes(file.read_bytes()[:900])
    cut = say("supernet", "export", "net", "out", "--choose", "min")
    assert cut.code == 2
    assert "training.safetensors" in cut.err


def test_a_loss_that_is_not_finite_stops_with_the_subnet_named(here: Path, say: Say) -> None:
    ended = say(*TRAIN[:8], "nets_here:wild", "--epochs", "1")
    assert ended.code == 2
    assert "the loss of the subnet {width 0 = 8, width 3 = 8} is nan" in ended.err


def test_a_search_does_not_go_on_with_scores_of_other_weights_or_data(here: Path, say: Say) -> None:
    search = ("supernet", "search", "net", "--data", "nets_here:held_out", "--trials", "3", "--sampler", "random")
    assert say(*TRAIN).code == 0
    assert say(*search).code == 0
    assert say(*search).code == 0
    other = say("supernet", "search", "net", "--data", "nets_here:half", "--trials", "4", "--sampler", "random")
    assert other.code == 2
    assert "scores with other data" in " ".join(other.err.split())
    assert say(*TRAIN, "--overwrite", "--seed", "1").code == 0
    assert not (here / "net" / "front.json").exists()
    assert say(*search).code == 0


def test_all_limits_of_one_cost_hold(here: Path, say: Say) -> None:
    assert say(*TRAIN).code == 0
    limits = ("--limit", "params>=100", "--limit", "params<=130")
    assert say("supernet", "search", "net", "--data", "nets_here:held_out", "--trials", "4", "--sampler", "random", *limits).code == 0
    front = json.loads((here / "net" / "front.json").read_text())
    assert all(100 <= row["params"] <= 130 for row in front)
    assert "params >= 100" in (here / "net" / "search.jsonl").read_text()
