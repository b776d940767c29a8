"""`loomweight federate`: a run, its folder, resuming, and what it refuses."""

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

import loomweight as lw

from .run import Ran, run

NETS = """
import torch
g = torch.Generator().manual_seed(0)
X = torch.randn(60, 4, generator=g)
Y = (X @ torch.randn(4, 3, generator=g)).argmax(1)
def data(): return (X[:50], Y[:50]), (X[50:], Y[50:])
def one(): return X, Y
def odd(): return X, Y[:7]
def wild(): return X * float("nan"), Y
def net(): return torch.nn.Linear(4, 3)
def word(): return "net"
"""
RUN = ("federate", "run", "out", "--data", "nets_fed:data", "--model", "nets_fed:net", "--clients", "5", "--rounds", "3")
Say = Callable[..., Ran]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    return partial(run, capsys)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "nets_fed.py").write_text(NETS)
    yield tmp_path
    import sys

    sys.modules.pop("nets_fed", None)


def test_a_run_leaves_weights_and_a_history_and_goes_on_to_the_same_bits(say: Say, here: Path) -> None:
    straight = say(*RUN, "--split", "shards(2)", "--aggregate", "median")
    assert straight.code == 0 and "3 rounds; accuracy on the test data" in straight.out
    rows = list(csv.DictReader((here / "out" / "history.csv").read_text().splitlines()))
    assert len(rows) == 3 and {row["pooled"] for row in rows} == {"5"}
    words = ("--split", "shards(2)", "--aggregate", "median")
    first = [word if word != "out" else "two" for word in (*RUN[:-1], "1", *words)]
    assert say(*first).code == 0
    second = [word if word != "out" else "two" for word in (*RUN, *words, "--resume")]
    assert say(*second).code == 0
    one, two = (lw.load(here / folder / "model.safetensors") for folder in ("out", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one.names)


def test_who_has_what_is_shown(say: Say, here: Path) -> None:
    shown = say("federate", "split", "who.png", "--data", "nets_fed:one", "--clients", "3", "--split", "dirichlet(0.5)")
    assert shown.code == 0 and "client 2" in shown.out and (here / "who.png").stat().st_size > 5000


def test_how_far_attacks_move_rules_is_shown(say: Say, here: Path) -> None:
    words = ("--rule", "mean", "--rule", "median", "--clients", "9", "--hostile", "2", "--entries", "50", "--seeds", "1")
    shown = say("federate", "robustness", "map.png", *words)
    assert shown.code == 0 and "median" in shown.out and (here / "map.png").stat().st_size > 5000
    assert "nearest: 'median'" in say("federate", "robustness", "--rule", "medain").err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--aggregate", "krumm"), "no aggregate named 'krumm'; nearest: 'krum'"),
        (("--aggregate", "krum(f=3)"), "n >= 2 f + 3"),
        (("--split", "dirichlet(-1)"), "dirichlet"),
        (("--choose", "sample(-2)"), "whole number of clients"),
        (("--message", "mean"), "no part of the message named 'mean'"),
        (("--lr", "0"), "above 0"),
        (("--hostile", "2"), "go together"),
        (("--engine", "threads"), "inline or on ray"),
        (("--strategy", "none.yaml"), "none.yaml cannot be read"),
        (("--data", "nets_fed:odd"), "not (inputs, labels)"),
        (("--data", "nets_fed:wild"), "holds NaN or Inf"),
        (("--data", "nets_fed:dat"), "nearest: 'data'"),
        (("--model", "nets_fed:word"), "not a torch.nn.Module"),
    ],
)
def test_a_mistake_gets_a_message_and_leaves_nothing(words: tuple[str, str], told: str, say: Say, here: Path) -> None:
    ended = say(*RUN, *words)
    assert ended.code == 2 and told.lower() in ended.err.lower() and "Traceback" not in ended.err
    assert not (here / "out" / "model.safetensors").exists()


def test_a_folder_with_another_run_is_not_written_over(say: Say, here: Path) -> None:
    assert say(*RUN).code == 0
    assert "--resume goes on with it" in say(*RUN).err
    assert "seed was 0, is 1" in say(*RUN, "--seed", "1", "--resume").err
    (here / "out" / "state.safetensors").write_bytes(b"cut")
    broken = say(*RUN[:-1], "5", "--resume")
    assert broken.code == 2 and "state.safetensors" in broken.err
    assert say(*RUN, "--overwrite").code == 0
