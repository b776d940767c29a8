"""Rises that are known by hand."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from loomweight.edits import Rescale
from loomweight.errors import BadParameter, NonFinite
from loomweight.evaluate import adversarial_flatness, ascent, filter_direction, random_flatness
from loomweight.evaluate.flatness import moved
from loomweight.weights import Weights
from loomweight.weights.axes import axes


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state() -> Weights:
    return Weights.of({"conv": drawn(4, 3, 2, 2), "bias": drawn(4, seed=1), "dead": torch.zeros(2, 3), "n": torch.tensor(7)})


def test_filters_of_a_direction_are_as_long_as_the_weights() -> None:
    weights, direction = state(), filter_direction(state(), seed=3)
    assert_close(direction["conv"].flatten(1).norm(dim=1), weights["conv"].flatten(1).norm(dim=1))
    assert not direction["bias"].any() and not direction["dead"].any() and direction["n"] == 0
    assert moved(weights, direction, 2.0)["n"] == 7
    assert torch.equal(direction["conv"], filter_direction(state(), seed=3)["conv"])
    assert not torch.equal(direction["conv"], filter_direction(state(), seed=4)["conv"])
    reordered = Weights.of(dict(reversed(list(weights.items()))))
    assert torch.equal(direction["conv"], filter_direction(reordered, seed=3)["conv"])
    read = direction.open("conv")
    assert torch.equal(torch.cat([read(0, 5), read(5, 48)]), direction["conv"].reshape(-1))


def test_filter_normalised_flatness_does_not_see_scales() -> None:
    """The reason for it: one function, written with other scales, is as flat as before; along plain directions it is not."""
    model = nn.Sequential(nn.Linear(3, 8, bias=False), nn.ReLU(), nn.Linear(8, 2, bias=False)).double()
    x = drawn(64, 3)
    weights = Weights.of({name: drawn(*tensor.shape) for name, tensor in model.state_dict().items()})
    y = torch.func.functional_call(model, dict(weights), (x,)).detach()

    def loss(w: Weights) -> float:
        return float((torch.func.functional_call(model, dict(w), (x,)) - y).square().mean())

    table = axes(model, x)
    scaled = Rescale.by(table, {name: torch.full((8,), 10.0) for name in table.spaces})(weights)
    one, other = (random_flatness(loss, w, radius=0.1, directions=4) for w in (weights, scaled))
    assert one.mean > 0
    assert_close(torch.tensor(one.rises), torch.tensor(other.rises), rtol=1e-5, atol=1e-9)
    assert adversarial_flatness(loss, scaled, radius=0.1, samples=8).worst > 3 * adversarial_flatness(loss, weights, radius=0.1, samples=8).worst


def test_a_quadratic_bowl_rises_by_its_largest_curvature() -> None:
    """L = sum h w^2: the worst of a ball of radius r around 0 is r^2 max h; random directions see the mean of h."""
    curvature = torch.tensor([[1.0, 2.0, 9.0, 0.5]], dtype=torch.float64)
    model = nn.Linear(4, 1, bias=False).double()
    model.weight.data = torch.tensor([[1e-6, 1e-6, 1e-6, 1e-6]], dtype=torch.float64)

    def loss(m: nn.Module) -> torch.Tensor:
        return (curvature * m.weight.square()).sum()

    before = model.weight.detach().clone()
    found = ascent(loss, model, radius=0.5, steps=30)
    assert found.worst == pytest.approx(0.25 * 9, rel=1e-4)
    assert torch.equal(model.weight, before)
    assert found.rises[0] < found.worst
    start = Weights.of({"weight": torch.tensor([[0.1, 0.1, 0.3, 0.0]], dtype=torch.float64)})
    without = adversarial_flatness(lambda w: float((curvature * w["weight"].square()).sum()), start, radius=0.5, samples=64, rounds=4)
    true = max(float((curvature * (start["weight"] + 0.5 * e).square()).sum()) for e in torch.nn.functional.normalize(drawn(20000, 4), dim=1)) - without.base
    assert 0.9 * true < without.worst <= 1.001 * true


def test_one_step_is_sams() -> None:
    """L(w + r g / |g|) - L(w), written out."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    for number, tensor in enumerate(model.parameters()):
        tensor.data = drawn(*tensor.shape, seed=number)
    x, y = drawn(16, 3), drawn(16, 1, seed=9)

    def loss(m: nn.Module) -> torch.Tensor:
        return (m(x) - y).square().mean()

    value = loss(model)
    slopes = torch.autograd.grad(value, list(model.parameters()))
    length = torch.cat([slope.reshape(-1) for slope in slopes]).norm()
    state = {name: tensor.detach() + 0.3 * slope / length for (name, tensor), slope in zip(model.named_parameters(), slopes, strict=True)}
    want = (torch.func.functional_call(model, state, (x,)) - y).square().mean() - value
    assert ascent(loss, model, radius=0.3).rises == (pytest.approx(float(want.detach())),)


def test_a_flat_place_and_bad_calls() -> None:
    weights = state()
    assert adversarial_flatness(lambda w: 1.0, weights, samples=2).worst == 0
    assert random_flatness(lambda w: 1.0, weights, directions=2).rises == (0.0,) * 4
    assert random_flatness(lambda w: float("nan") if w.label.endswith("-0.1") else 0.0, weights, directions=1).worst == float("inf")
    with pytest.raises(BadParameter, match="radius must be positive, found 0"):
        random_flatness(lambda w: 0.0, weights, radius=0)
    with pytest.raises(NonFinite, match="at the weights themselves is nan"):
        random_flatness(lambda w: float("nan"), weights)
    with pytest.raises(BadParameter, match="no gradient with respect to any parameter"):
        ascent(lambda m: torch.tensor(1.0), nn.Linear(2, 2))
