"""Scaling units keeps the function, and is refused where it would not."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from loomweight.edits import Rescale, balanced
from loomweight.errors import BadParameter, UnknownName
from loomweight.weights import Weights
from loomweight.weights.axes import Axes, axes, table_for, unfolded

from .relu_nets import SCALING, TRAPS, drawn


def factors_for(table: Axes, seed: int) -> dict[str, Tensor]:
    """Factors from 1/8 to 8 for all units that scale."""
    generator = torch.Generator().manual_seed(seed)
    return {name: 8 ** (2 * torch.rand(space.size, generator=generator) - 1) for name, space in table.spaces.items() if space.scales}


def change(model: nn.Module, weights: Weights, x: Tensor) -> float:
    """Largest change of an output when the model has these weights instead of its own, relative to the largest."""
    before = model(x)
    after = torch.func.functional_call(model, dict(weights), (x,))
    return float((after - before).detach().abs().max() / before.detach().abs().max())


def scene(make, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor, Axes]:
    model = drawn(make())
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return model, x, axes(model, x)


@pytest.mark.parametrize("name", SCALING)
def test_the_function_stays(name: str) -> None:
    make, shape, spaces = SCALING[name]
    model, x, table = scene(make, shape)
    assert {space.name for space in table.spaces.values() if space.scales} == spaces
    rescaled = Rescale.by(table, factors_for(table, 0))(Weights.of(model.state_dict()))
    assert change(model, rescaled, x) < 1e-12
    assert not torch.equal(rescaled[table.uses(min(spaces))[0].tensor], model.state_dict()[table.uses(min(spaces))[0].tensor])


@pytest.mark.parametrize("name", TRAPS)
def test_what_would_change_the_function_is_not_offered(name: str) -> None:
    model, x, table = scene(*TRAPS[name])
    assert change(model, Rescale.by(table, factors_for(table, 0))(Weights.of(model.state_dict())), x) < 1e-12


@settings(max_examples=8)
@given(seed=st.integers(0, 2**31), widths=st.lists(st.integers(2, 6), min_size=1, max_size=3))
def test_any_width_depth_and_factors(seed: int, widths: list[int]) -> None:
    sizes = [3, *widths, 2]
    layers = [module for a, b in pairwise(sizes) for module in (nn.Linear(a, b), nn.ReLU())][:-1]
    model, x, table = scene(lambda: nn.Sequential(*layers), (5, 3))
    weights = Weights.of(model.state_dict())
    factors = factors_for(table, seed)
    rescaled = Rescale.by(table, factors)(weights)
    assert change(model, rescaled, x) < 1e-12
    back = Rescale.by(table, {name: 1 / factor for name, factor in factors.items()})(rescaled)
    for key, tensor in weights.items():
        assert_close(back[key], tensor, rtol=1e-6, atol=0)
    settled = balanced(table, rescaled)(rescaled)
    assert change(model, settled, x) < 1e-9
    for name in table.spaces:
        made, eaten = norms(table, settled, name)
        assert_close(made, eaten, rtol=1e-4, atol=0)


def norms(table: Axes, weights: Weights, space: str) -> tuple[Tensor, Tensor]:
    """Norms of what makes each unit and of what consumes it."""
    squares = [torch.zeros(table.spaces[space].size, dtype=torch.float64) for _ in range(2)]
    for use in table.uses(space):
        rows = unfolded(table, weights[use.tensor], use)
        squares[use.axis == table.layouts[use.tensor].consumed] += rows.double().square().sum(-1)
    return squares[0].sqrt(), squares[1].sqrt()


@pytest.mark.parametrize("name", SCALING)
def test_balanced_weights_are_the_smallest_of_all_that_scaling_reaches(name: str) -> None:
    model, x, table = scene(*SCALING[name][:2])
    weights = Weights.of(model.state_dict())
    settled = balanced(table, weights)(weights)
    assert change(model, settled, x) < 1e-9
    size = sum(float(tensor.square().sum()) for tensor in dict(settled).values())
    for seed in range(5):
        other = Rescale.by(table, {key: 1 + 0.1 * (value.log() / 2) for key, value in factors_for(table, seed).items()})(settled)
        assert sum(float(tensor.square().sum()) for tensor in dict(other).values()) > size


def test_incoming_norms_of_one() -> None:
    make, shape, spaces = SCALING["mlp"]
    model, x, table = scene(make, shape)
    weights = Weights.of(model.state_dict())
    settled = balanced(table, weights, incoming=True)(weights)
    assert change(model, settled, x) < 1e-9
    for name in spaces:
        assert_close(norms(table, settled, name)[0], torch.ones(table.spaces[name].size, dtype=torch.float64))


def test_dead_units_stay_and_large_weights_do_not_overflow() -> None:
    model, x, table = scene(SCALING["mlp"][0], (4, 3))
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state["0.weight"][2], state["0.bias"][2], state["2.weight"][:, 3] = 0, 0, 0
    model.load_state_dict(state)
    found = dict(balanced(table, Weights.of(state)).factors)
    assert found["layer.0"][2] == found["layer.0"][3] == 1
    assert change(model, balanced(table, Weights.of(state))(Weights.of(state)), x) < 1e-9


def test_blocks_are_parts_of_the_whole() -> None:
    model, _, table = scene(*SCALING["flattened"][:2])
    rescaled = Rescale.by(table, factors_for(table, 3))(Weights.of(model.state_dict()))
    whole, read = rescaled["4.weight"].reshape(-1), rescaled.open("4.weight")
    for lo, hi in ((0, 1), (17, 90), (300, 320)):
        assert torch.equal(read(lo, hi), whole[lo:hi])


def test_bad_calls() -> None:
    table = axes(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(1, 3))
    with pytest.raises(UnknownName, match="no space named 'hidden'"):
        Rescale.by(table, {"hidden": torch.ones(4)})
    for factor, found in ((torch.ones(3), r"found shape \(3,\)"), (-torch.ones(4), "found others"), (torch.full((4,), torch.inf), "found others")):
        with pytest.raises(BadParameter, match=rf"factors of space 'layer\.0' must be positive finite numbers of shape .4,., {found}"):
            Rescale.by(table, {"layer.0": factor})
    curved = axes(nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)), torch.zeros(1, 3))
    with pytest.raises(BadParameter, match=r"units of space 'layer\.0' may not be scaled"):
        Rescale.by(curved, {"layer.0": torch.ones(4)})
    weights = Weights.of({"a.weight": torch.ones(4, 3), "b.weight": torch.ones(2, 4)})
    with pytest.raises(BadParameter, match="or the table was not traced"):
        Rescale.by(table_for("a.weight : h <- 3\nb.weight : 2 <- h", weights), {"h": torch.ones(4)})


def test_incoming_norms_of_one_around_a_skip_that_grows() -> None:
    model, _, table = scene(*SCALING["residual"][:2])
    with pytest.raises(BadParameter, match="around a skip connection incoming norms of 1 need not exist"):
        balanced(table, Weights.of(model.state_dict()), incoming=True, sweeps=20)


def test_transformers_with_relu_scale_in_their_mlps_alone() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 11, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2, "use_cache": False}
    model = drawn(transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, feed_forward_proj="relu")))
    ids = torch.arange(6).reshape(1, 6)
    inputs = {"input_ids": ids, "decoder_input_ids": ids[:, :4]}
    table = axes(model, inputs)
    assert {space.name for space in table.spaces.values() if space.scales} == {
        "encoder.block.0.layer.1.DenseReluDense.wi",
        "decoder.block.0.layer.2.DenseReluDense.wi",
    }
    weights = Rescale.by(table, factors_for(table, 0))(Weights.of(model.state_dict()))
    state = {name: tensor for name, tensor in weights.items() if name not in weights.ties}
    with torch.no_grad():
        assert_close(torch.func.functional_call(model, state, kwargs=inputs).logits, model(**inputs).logits, rtol=1e-9, atol=1e-9)
