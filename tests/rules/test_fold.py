"""Pushed one at a time, sets give what the batch rule gives; what does not fit is refused and changes nothing."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import loomweight as lw
from loomweight.errors import BadParameter, IntegersDiffer, NamesDiffer, NonFinite, ShapesDiffer, TooFewSets
from loomweight.rules import MagMax, Mean, RunningMagMax, RunningMean, combine

from ..strategies import weight_sets


@settings(max_examples=30, deadline=None)
@given(sets=weight_sets(1, 6), data=st.data())
def test_the_fold_is_the_rule(sets, data) -> None:
    weights = tuple(data.draw(st.floats(0.1, 10)) for _ in sets)
    for running, batch, given_weights in ((RunningMean(), Mean(weights), weights), (RunningMagMax(), MagMax(), (1.0,) * len(sets))):
        state = running.start(sets[0])
        for pushed, weight in zip(sets, given_weights, strict=True):
            state = running.add(state, pushed, weight)
        expected = combine(sets, batch)
        for name, value in running.value(state).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6 * float(expected[name].abs().max() + 1))


def test_half_precision_is_accumulated_in_float32() -> None:
    """A thousand bfloat16 ones and one 2: their mean is far below what a bfloat16 running mean could still move by."""
    running = RunningMean()
    state = running.start({"w": torch.ones(1, dtype=torch.bfloat16)})
    for value in [1.0] * 999 + [2.0]:
        state = running.add(state, {"w": torch.tensor([value], dtype=torch.bfloat16)})
    assert state.total["w"].item() == pytest.approx(1.001, rel=1e-5)
    assert running.value(state)["w"].dtype == torch.bfloat16


def test_a_state_is_plain_data(tmp_path) -> None:
    running = RunningMean()
    state = running.add(running.start({"w": torch.zeros(2)}), {"w": torch.ones(2)})
    torch.save(state.__dict__, tmp_path / "state.pt")
    again = type(state)(**torch.load(tmp_path / "state.pt", weights_only=True))
    assert running.value(running.add(again, {"w": torch.zeros(2)}))["w"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("pushed", "weight", "error", "words"),
    [
        ({"w": torch.ones(2)}, 1.0, NamesDiffer, "only in the first: 'n'"),
        ({"w": torch.ones(3), "n": torch.tensor(1)}, 1.0, ShapesDiffer, r"tensor 'w' has shape \(3,\)"),
        ({"w": torch.tensor([1.0, float("nan")]), "n": torch.tensor(1)}, 1.0, NonFinite, "tensor 'w' holds NaN or Inf; it was not added"),
        ({"w": torch.ones(2), "n": torch.tensor(2)}, 1.0, IntegersDiffer, "integer tensor 'n' differs"),
        ({"w": torch.ones(2), "n": torch.tensor(1)}, -1.0, BadParameter, "at least 0, found -1"),
    ],
)
def test_what_does_not_fit_changes_nothing(pushed, weight, error, words) -> None:
    running = RunningMean()
    state = running.add(running.start({"w": torch.zeros(2), "n": torch.tensor(1)}), {"w": torch.tensor([4.0, 2.0]), "n": torch.tensor(1)})
    before = copy.deepcopy(state)
    with pytest.raises(error, match=words):
        running.add(state, pushed, weight)
    assert state.total["w"].equal(before.total["w"]) and (state.count, state.weight) == (before.count, before.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("before", [0, 1, 2, 7])
def test_what_was_pushed_before_nan_is_taken_back(dtype: torch.dtype, before: int) -> None:
    """NaN in the last tensor: the blocks before it have moved already, unless the step was a long one, which is looked at first."""
    running = RunningMean()
    shapes = {"a": 300_000, "b": 5, "c": 1}
    draws = torch.Generator().manual_seed(before)
    sets = [{name: torch.randn(n, generator=draws).to(dtype) for name, n in shapes.items()} for _ in range(before + 1)]
    state = running.start(sets[0])
    for pushed in sets[:-1]:
        state = running.add(state, pushed)
    kept = copy.deepcopy(state)
    with pytest.raises(NonFinite, match="tensor 'c' holds NaN or Inf; it was not added"):
        running.add(state, {**sets[-1], "c": torch.tensor([float("nan")], dtype=dtype)})
    assert (state.count, state.weight) == (kept.count, kept.weight) and state.total["c"].equal(kept.total["c"])
    for name in shapes:
        largest = torch.maximum(kept.total[name].abs(), sets[-1][name].abs().float())
        assert ((state.total[name] - kept.total[name]).abs() <= 2**-22 * largest).all()
        if before == 0:
            assert state.total[name].equal(kept.total[name])


def test_a_value_before_any_set() -> None:
    with pytest.raises(TooFewSets, match="nothing with a weight has been pushed yet"):
        RunningMean().value(RunningMean().start(lw.Weights.of({"w": torch.zeros(1)})))


def test_a_value_stays_what_it_was_when_more_is_pushed() -> None:
    for running in (RunningMean(), RunningMagMax()):
        state = running.add(running.start({"w": torch.zeros(2)}), {"w": torch.ones(2)})
        value = running.value(state)
        running.add(state, {"w": torch.full((2,), 5.0)})
        assert value["w"].tolist() == [1, 1]


def test_a_sum_that_overflows_is_no_nan() -> None:
    """Finite entries whose sum is beyond float16, or float32, are finite entries."""
    for dtype, size in ((torch.float16, 6e4), (torch.float32, 3e38)):
        running = RunningMean()
        state = running.add(running.start({"w": torch.zeros(9, dtype=dtype)}), {"w": torch.full((9,), size, dtype=dtype)})
        assert torch.isfinite(running.value(state)["w"]).all()
