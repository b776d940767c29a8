"""ColD fusion: rounds, what is refused, and that crashes and races lose nothing."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import loomweight as lw
from loomweight.errors import NamesDiffer, OutputError, TooFewSets, UnknownName
from loomweight.merge.repo import Repository, plain_rule


def state(value: float) -> dict[str, torch.Tensor]:
    return {"body.w": torch.full((3,), value), "body.b": torch.tensor([value])}


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository.init(tmp_path / "repo", state(0.0))


def test_rounds_follow_each_other(repo) -> None:
    repo.contribute(state(2.0), "ann")
    repo.contribute(state(4.0), "bob")
    assert lw.load(repo.fuse())["body.w"].tolist() == [3, 3, 3]
    assert (repo.round, repo.contributions) == (1, [])
    repo.contribute(state(10.0), "ann")
    repo.fuse(plain_rule("median"))
    assert lw.load(repo.base)["body.b"].item() == 10


def test_descent_on_a_real_problem_improves_every_round(tmp_path) -> None:
    """Each contributor sees one half of a regression's inputs; the fused base fits both better round after round."""
    torch.manual_seed(0)
    truth, inputs = torch.randn(6), torch.randn(80, 6)
    halves = [inputs[:40] * torch.tensor([1, 1, 1, 0.1, 0.1, 0.1]), inputs[40:] * torch.tensor([0.1, 0.1, 0.1, 1, 1, 1])]
    repo = Repository.init(tmp_path / "repo", {"w": torch.zeros(6)})
    losses = []
    for _ in range(4):
        for i, data in enumerate(halves):
            w = lw.load(repo.base)["w"].clone()
            for _ in range(20):
                w -= 0.1 * data.T @ (data @ w - data @ truth) / len(data)
            repo.contribute({"w": w}, f"half-{i}")
        w = lw.load(repo.fuse())["w"]
        losses.append(sum(float(((data @ (w - truth)) ** 2).mean()) for data in halves))
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.5 * losses[0]


def test_what_does_not_fit_is_refused_and_leaves_nothing(repo) -> None:
    with pytest.raises(NamesDiffer, match=r"only in the second: 'head'"):
        repo.contribute(state(1.0) | {"head": torch.zeros(2)}, "ann")
    assert repo.contributions == []
    repo.contribute(state(1.0) | {"head": torch.zeros(2)}, "ann", drop=["head*"])
    with pytest.raises(OutputError, match="ann"):
        repo.contribute(state(2.0), "ann")
    with pytest.raises(OutputError, match="fine-tuned from round 3, but round 0 is open"):
        repo.contribute(state(2.0), "bob", started=3)
    with pytest.raises(UnknownName, match="is no repository"):
        Repository.open(repo.path / "rounds")
    with pytest.raises(OutputError, match="exists and is not empty"):
        Repository.init(repo.path, state(0.0))


def test_an_empty_round_cannot_be_fused(repo) -> None:
    with pytest.raises(TooFewSets, match=r"round 0 of .* has no contribution"):
        repo.fuse()
    assert repo.round == 0


def test_rule_names(repo) -> None:
    with pytest.raises(UnknownName, match="nearest: 'median'"):
        plain_rule("medain")


def _contribute(path: Path, name: str) -> None:
    torch.set_num_threads(1)
    Repository.open(path).contribute(state(float(len(name))), name)


def test_contributors_at_once_are_all_there(repo) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_contribute, args=(repo.path, name)) for name in ("a", "bb", "ccc")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [path.name for path in repo.contributions] == ["a", "bb", "ccc"]
    assert lw.load(repo.fuse())["body.b"].item() == 2


SLOW_FUSE = """
import sys, time
from loomweight.merge import repo
write = repo.write
def slow(weights, output, **options):
    print("writing", flush=True)
    time.sleep(30)
repo.write = slow
repo.Repository.open(sys.argv[1]).fuse()
"""


def test_a_fusion_that_is_killed_is_simply_done_again(repo) -> None:
    repo.contribute(state(2.0), "ann")
    process = subprocess.Popen([sys.executable, "-c", SLOW_FUSE, str(repo.path)], stdout=subprocess.PIPE, env=os.environ)
    assert process.stdout and process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert repo.round == 0 and [path.name for path in repo.contributions] == ["ann"]
    assert lw.load(repo.fuse())["body.b"].item() == 2
