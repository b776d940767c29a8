"""A collection that was killed goes on to the same result, and only with the same data."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from loomweight.errors import BadParameter, BrokenFile, OutputError
from loomweight.evidence import Fold, InputGrams, Run, State, collect, fisher, gradient_norms, hessian_diagonal, input_grams
from loomweight.weights import Weights

from .nets import data, mlp, numbers

COLLECTORS: list[Callable[..., Weights]] = [
    fisher,
    lambda model, loader, run: fisher(model, loader, labels="expected", samples=21, run=run),
    lambda model, loader, run: hessian_diagonal(model, loader, probes=2, seed=4, run=run),
    lambda model, loader, run: input_grams(model, loader, run=run),
    lambda model, loader, run: gradient_norms(model, loader, run=run),
]


class Stop(Exception):
    """Stands for a kill: nothing that catches errors of ours catches it."""


def cut(batches: list[Any], after: int) -> Iterator[Any]:
    yield from batches[:after]
    raise Stop


@pytest.mark.parametrize("collector", COLLECTORS)
@pytest.mark.parametrize("after", [0, 1, 4, 6])
def test_cut_after_any_batch_the_result_is_the_same_to_the_last_bit(tmp_path: Path, collector: Callable[..., Weights], after: int) -> None:
    batches = data(count=24, batch=4)
    run = Run(checkpoint=tmp_path / "state.safetensors", every=2)
    truth = collector(mlp(), batches, run=Run())
    with suppress(Stop):  # one that has its samples stops by itself
        collector(mlp(), cut(batches, after), run=run)
    found = collector(mlp(), batches, run=run)
    assert found.label == truth.label
    for name in truth:
        assert torch.equal(found[name], truth[name]), name


def test_what_the_file_holds_is_not_computed_again(tmp_path: Path) -> None:
    """The calls of the model are counted: of 6 batches, 4 were done and kept before the stop."""
    batches, calls = data(count=24, batch=4), []
    run = Run(checkpoint=tmp_path / "state.safetensors", every=2)

    def forward(model: torch.nn.Module, batch: Any) -> None:
        calls.append(len(batch[0]))
        model(batch[0])

    for loader, expected in ((cut(batches, 5), 5), (batches, 2), (batches, 0)):
        calls.clear()
        with suppress(Stop):
            input_grams(mlp(), loader, forward=forward, run=run)
        assert len(calls) == expected


PROGRAM = """
import sys, time, torch
from torch import nn
from loomweight.evidence import Run, fisher
generator = torch.Generator().manual_seed(0)
model = nn.Linear(4, 3)
with torch.no_grad():
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
batches = [torch.randn(5, 4, generator=generator) for _ in range(30)]
def slow():
    for i, batch in enumerate(batches):
        print(i, flush=True)
        time.sleep(float(sys.argv[2]))
        yield batch
found = fisher(model, slow(), run=Run(checkpoint=sys.argv[1], every=5))["weight"]
print(torch.equal(found, fisher(model, batches)["weight"]))
"""


def test_killed_for_real(tmp_path: Path) -> None:
    def begin(pause: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "state.safetensors"), pause]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)

    process = begin("0.02")
    assert process.stdout is not None
    while process.stdout.readline().strip() != "15":
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert begin("0").communicate(timeout=60)[0].splitlines()[-1] == "True"
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_other_data_is_refused(tmp_path: Path) -> None:
    batches = data(count=24, batch=4)
    run = Run(checkpoint=tmp_path / "state.safetensors", every=1)
    with pytest.raises(Stop):
        fisher(mlp(), cut(batches, 3), run=run)
    with pytest.raises(BadParameter, match=r"first 3 batches are not those whose sums .* same order .no shuffling"):
        fisher(mlp(), [batches[1], batches[0], *batches[2:]], run=run)
    with pytest.raises(BadParameter, match=r"the loader gave 2 batches, .* holds the sums of 3"):
        fisher(mlp(), batches[:2], run=run)


def test_another_model_or_option_is_refused(tmp_path: Path) -> None:
    batches = data()
    run = Run(checkpoint=tmp_path / "state.safetensors")
    fisher(mlp(), batches, run=run)
    other = mlp()
    with torch.no_grad():
        other[0].weight[0, 0] += 1e-3
    for again in (
        lambda: fisher(other, batches, run=run),
        lambda: fisher(mlp(), batches, seed=1, run=run),
        lambda: fisher(mlp(), batches, labels="empirical", run=run),
        lambda: fisher(mlp(), batches, samples=3, run=run),
        lambda: gradient_norms(mlp(), batches, run=run),
    ):
        with pytest.raises(BadParameter, match="holds the running state of another model, statistic or option"):
            again()


def test_files_that_are_no_state(tmp_path: Path) -> None:
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(BrokenFile, match=r"junk\.safetensors is no running state"):
        fisher(mlp(), data(), run=Run(checkpoint=tmp_path / "junk.safetensors"))
    assert (tmp_path / "junk.safetensors").read_bytes() == b"junk"
    with pytest.raises(BadParameter, match=r"ends in .safetensors; found 'state.pt'"):
        fisher(mlp(), data(), run=Run(checkpoint="state.pt"))
    with pytest.raises(BadParameter, match="at least 1, found 0"):
        Run(every=0)
    (tmp_path / "a file").write_text("")
    with pytest.raises(OutputError):
        fisher(mlp(), data(), run=Run(checkpoint=tmp_path / "a file" / "state.safetensors"))


def test_weights_that_are_no_state_are_left_alone(tmp_path: Path) -> None:
    from loomweight.weights import save

    path = save({"w": numbers(3)}, tmp_path / "model.safetensors")
    before = path.read_bytes()
    with pytest.raises(BrokenFile, match="it lacks batches, examples, key, seen; name another file"):
        fisher(mlp(), data(), run=Run(checkpoint=path))
    assert path.read_bytes() == before


def test_by_hand_start_add_value_is_the_collection() -> None:
    """The fold is the statistic: no loop of ours is needed."""
    model, batches = mlp().eval(), data()
    fold: Fold = InputGrams(model, "*", lambda m, b: m(b[0]), normalize=False)
    state: State = fold.start()
    for batch in batches:
        state = fold.add(state, batch)
    truth = input_grams(mlp(), batches)
    for name, matrix in fold.value(state).items():
        assert torch.equal(matrix, truth[name])


def test_a_collection_of_ones_own() -> None:
    class Count(Fold):
        """Counts examples."""

        def start(self) -> State:
            return State({"n": torch.zeros(())})

        def add(self, state: State, batch: Any) -> State:
            state.sums["n"] += len(batch[0])
            return state

        def value(self, state: State) -> Weights:
            return Weights.of(state.sums)

    assert collect(Count(mlp()), data(count=12), Run(), samples=7)["n"] == 7
