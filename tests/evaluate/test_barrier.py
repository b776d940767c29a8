"""Barriers with a known height."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from loomweight.errors import BadParameter, IntegersDiffer, NamesDiffer, NonFinite
from loomweight.evaluate import barrier, between
from loomweight.weights import Weights


def at(*numbers: float) -> Weights:
    return Weights.of({"w": torch.tensor(numbers, dtype=torch.float64)})


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_a_concave_bowl_has_a_quarter_of_the_squared_distance(numbers: list[float]) -> None:
    """L = -|w - m|^2 rises by t (1 - t) |a - b|^2 above the chord, whatever m is."""
    a, b = at(*numbers[:2]), at(*numbers[2:])
    found = barrier(lambda w: -float((w["w"] - 0.7).square().sum()), a, b, steps=9)
    distance = float((a["w"] - b["w"]).square().sum())
    assert found.height == pytest.approx(distance / 4, abs=1e-9)
    assert found.rises == pytest.approx([t * (1 - t) * distance for t in found.positions], abs=1e-9)
    if distance > 1e-3:
        assert found.at == 0.5


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_a_convex_loss_has_none(numbers: list[float]) -> None:
    assert barrier(lambda w: float(w["w"].square().sum()), at(*numbers[:2]), at(*numbers[2:])).height < 1e-12


def test_the_chord_follows_ends_of_different_loss() -> None:
    """A linear loss has no barrier, though its middle lies above one of its ends."""
    assert barrier(lambda w: float(w["w"].sum()), at(0.0), at(8.0)).height < 1e-12


def test_a_permuted_copy_of_a_network_lies_behind_a_barrier() -> None:
    """The same function at both ends, and none on the way: what permutation matching is for."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(64, 3, generator=generator)
    y = model(x).detach()
    order = torch.randperm(16, generator=generator)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moved = state | {"0.weight": state["0.weight"][order], "0.bias": state["0.bias"][order], "2.weight": state["2.weight"][:, order]}

    def loss(weights: Weights) -> float:
        return float((torch.func.functional_call(model, dict(weights), (x,)) - y).square().mean())

    found = barrier(loss, Weights.of(state), Weights.of(moved))
    assert found.losses[0] == 0
    assert found.losses[-1] < 1e-10
    assert found.height > 0.5
    assert 0.2 < found.at < 0.8
    assert barrier(loss, Weights.of(state), Weights.of(state)).height < 1e-10


def test_the_ends_are_exact_and_ties_stay() -> None:
    shared = torch.randn(3, generator=torch.Generator().manual_seed(0)).bfloat16()
    a = Weights.of({"x": shared, "y": shared, "n": torch.tensor(3)})
    other = (shared * 1.7).bfloat16()
    b = Weights.of({"x": other, "y": other, "n": torch.tensor(3)})
    assert torch.equal(between(a, b, 0.0)["x"], a["x"])
    assert torch.equal(between(a, b, 1.0)["x"], b["x"])
    half = between(a, b, 0.5)
    assert half.ties == {"y": "x"}
    assert half["n"] == 3
    assert half["x"].dtype == torch.bfloat16
    assert_close(half["x"], ((a["x"].double() + b["x"].double()) / 2).bfloat16(), rtol=0, atol=0)


def test_bad_calls() -> None:
    with pytest.raises(BadParameter, match="at least 3 points"):
        barrier(lambda w: 0.0, at(0.0), at(1.0), steps=2)
    with pytest.raises(NamesDiffer):
        barrier(lambda w: 0.0, at(0.0), Weights.of({"v": torch.zeros(1)}))
    with pytest.raises(NonFinite, match=r"the loss is nan at t = 0.5"):
        barrier(lambda w: float("nan") if 0.2 < float(w["w"]) < 0.8 else 0.0, at(0.0), at(1.0), steps=3)
    with pytest.raises(IntegersDiffer, match="integer tensor 'n' differs"):
        between(Weights.of({"n": torch.tensor(1)}), Weights.of({"n": torch.tensor(2)}), 0.5)
