"""What a careful user would try to break: interrupts, large weights beside NaN, counts that are tensors, two averages of one model."""

import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import loomweight as lw
from loomweight.errors import BadParameter, NonFinite
from loomweight.rules import RunningMean
from loomweight.trajectory import EMA, LAWA, SWA, Exponential, PostHocEMA, Snapshots, scaling_rule
from loomweight.trajectory.undisturbed import undisturbed


def filled(model: nn.Module, value: float) -> None:
    for parameter in model.parameters():
        parameter.data.fill_(value)


def test_an_interrupt_is_heard_when_the_work_is_done() -> None:
    done = []

    def work() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["whole"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_threads_and_without_a_handler_nothing_changes() -> None:
    thread = threading.Thread(target=lambda: undisturbed().__enter__())
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with undisturbed():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("make", [lambda m: EMA(m, half_life=1), lambda m: LAWA(m, k=2)], ids=["EMA", "LAWA"])
def test_an_interrupted_update_is_whole(make, monkeypatch) -> None:
    model = nn.Linear(3, 3)
    track = make(model)
    filled(model, 1.0)
    track.update(), track.update()
    filled(model, 5.0)
    take = track._take
    monkeypatch.setattr(track, "_take", lambda samples: (signal.raise_signal(signal.SIGINT), take(samples)))
    with pytest.raises(KeyboardInterrupt):
        track.update(samples=64)
    assert track.count == 3 and track.clock.run == 66
    assert all(torch.isfinite(tensor).all() and tensor.unique().numel() == 1 for _, tensor in track.value().items())


@pytest.mark.parametrize("large", [1e5, 1e15, 1e20])
def test_nan_beside_large_weights_leaves_the_average(large: float) -> None:
    """What is large leaves too few digits to take it back, so it is looked at first."""
    model = nn.Sequential(nn.Linear(300, 300, bias=False), nn.Linear(2, 1, bias=False))
    ema = EMA(model, half_life=10)
    filled(model, 1.0)
    for _ in range(20):
        ema.update()
    before = {name: total.clone() for name, total in ema.totals.items()}
    model[0].weight.data.fill_(large)
    model[1].weight.data.fill_(float("nan"))
    with pytest.raises(NonFinite, match=r"'1\.weight'"):
        ema.update()
    assert all(ema.totals[name].equal(before[name]) for name in before)
    model[1].weight.data.fill_(1.0)
    assert ema.update() and ema.value()["0.weight"].min() > large / 100
    running = RunningMean()
    state = running.start({"a": torch.ones(300_000), "b": torch.ones(1)})
    for _ in range(3):
        state = running.add(state, {"a": torch.ones(300_000), "b": torch.ones(1)})
    with pytest.raises(NonFinite, match="'b' holds NaN"):
        running.add(state, {"a": torch.full((300_000,), large), "b": torch.tensor([float("nan")])})
    assert state.total["a"].eq(1).all()


@pytest.mark.parametrize("count", [torch.tensor(16), np.int64(16), torch.ones(4, 4, dtype=torch.long).sum(), 16])
def test_a_count_may_be_any_number(count) -> None:
    swa = SWA(nn.Linear(1, 1), start=2**34)
    swa.update(samples=2**34 - 8)
    assert swa.update(samples=count)
    assert swa.seen == 8 and type(swa.clock.run) is float and type(swa.seen) is float


def test_what_is_no_count_is_refused() -> None:
    for wrong in (torch.ones(2), torch.tensor(float("nan")), np.int64(0)):
        with pytest.raises(BadParameter, match="positive number of samples"):
            SWA(nn.Linear(1, 1)).update(samples=wrong)


def test_a_share_needs_the_length_of_the_run() -> None:
    with pytest.raises(BadParameter, match=r"start=0\.75 is less than one sample.*give length"):
        SWA(nn.Linear(1, 1), start=0.75)


def test_one_average_is_no_point_of_another() -> None:
    model = nn.Linear(1, 1)
    first, second = EMA(model, half_life=1), SWA(model)
    first.update(), second.update()
    with first.applied(), pytest.raises(BadParameter, match="while an average is applied"):
        second.update()
    with first.applied(), second.applied():
        pass
    assert second.update() and second.count == 2


def test_equal_settings_resume_each_other() -> None:
    model = nn.Linear(1, 1)
    ema = EMA(model, half_life=5e3)
    ema.update()
    assert EMA(model, half_life=5_000).load_state_dict(ema.state_dict()).count == 1
    for broken in ({}, {"what": ema._what()}, {key: value for key, value in ema.state_dict().items() if key != "since"}):
        with pytest.raises(BadParameter, match="it lacks"):
            ema.load_state_dict(broken)
    assert ema.count == 1 and ema.totals["weight"].equal(model.weight.data)


def test_snapshots_of_parts_of_an_epoch_do_not_meet(tmp_path: Path) -> None:
    posthoc = PostHocEMA(nn.Linear(1, 1), every=0.25, folder=tmp_path)
    for _ in range(200):
        posthoc.update(samples=0.01)
    assert [round(samples, 2) for samples in Snapshots.of(tmp_path).samples] == pytest.approx([0.25 * i for i in range(1, 9)], abs=0.02)


class Extra(nn.Module):
    """A module whose state is more than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 2)

    def get_extra_state(self) -> dict[str, int]:
        return {"step": 3}

    def set_extra_state(self, state: object) -> None: ...


def test_state_that_is_no_tensor_is_named() -> None:
    ema = EMA(Extra(), half_life=1)
    ema.update()
    with pytest.raises(BadParameter, match="'_extra_state' of the model's state is no tensor"):
        ema.value()


def test_a_start_with_nan_is_refused() -> None:
    with pytest.raises(NonFinite, match="tensor 'w' holds NaN"):
        Exponential(2, from_start=True).start({"w": torch.tensor([float("nan")])})


def test_a_rule_for_an_optimizer_that_is_not_known_is_refused() -> None:
    optimizer = torch.optim.RMSprop(nn.Linear(1, 1).parameters(), lr=0.1)
    with pytest.raises(BadParameter, match=r"alpha.*neither SGD nor Adam"):
        scaling_rule(4).change(optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_an_average_too_large_for_the_model_is_not_written_into_it() -> None:
    model = nn.Linear(1, 1)
    filled(model, 1e6)
    swa = SWA(model)
    swa.update()
    model.half()
    with pytest.raises(lw.errors.Overflow, match="weight"):
        swa.copy_to_model()
