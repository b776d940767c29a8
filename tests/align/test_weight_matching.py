"""Laws of weight matching, on every kind of network that `axes` knows."""

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import loomweight as lw
from loomweight.align import weight_matching
from loomweight.align.descent import Climb
from loomweight.align.weight_matching import matched
from loomweight.edits import Permute
from loomweight.errors import NamesDiffer, NonFinite, ShapesDiffer, UnknownName
from loomweight.weights import Weights
from loomweight.weights.axes import Axes, axes, inverse, random_orders, table_for

from .networks import NETWORKS, made, mlp, seeded_mlp, table, weights

every_network = pytest.mark.parametrize("name", NETWORKS)


def same(first: Weights, second: Weights) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def inner(first: Weights, second: Weights) -> float:
    kept = [name for name in first.physical if first.spec[name].averages and "running" not in name]
    return sum(float(first[name].double().flatten() @ second[name].double().flatten()) for name in kept)


@every_network
def test_a_permuted_copy_is_recovered_bit_for_bit(name: str) -> None:
    base = weights(name)
    for seed in range(3):
        shuffled = Permute.by(table(name), random_orders(table(name), seed))(base)
        assert not same(shuffled, base)
        assert same(weight_matching(table(name), shuffled, base)(shuffled), base)


@every_network
def test_with_itself_nothing_moves(name: str) -> None:
    assert not weight_matching(table(name), weights(name), weights(name)).orders


@every_network
def test_of_networks_made_apart_the_inner_product_rises_and_a_second_time_nothing_moves(name: str) -> None:
    one, other = weights(name, 1), weights(name, 2)
    edit = weight_matching(table(name), one, other)
    assert inner(edit(one), other) > inner(one, other)
    assert not weight_matching(table(name), edit(one), other).orders


@pytest.mark.parametrize("name", ["mlp", "residual", "gru", "encoder"])
def test_the_function_stays(name: str) -> None:
    model, example = made(name, 1).double(), NETWORKS[name][1].double()
    example = example * torch.randn(example.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = model(example)
    model.load_state_dict(dict(weight_matching(table(name), Weights.of(model.state_dict()), weights(name, 2))(Weights.of(model.state_dict()))))
    assert torch.allclose(model(example), before, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "residual", "lstm", "encoder", "llama"])
def test_no_visit_lowers_the_inner_product(name: str) -> None:
    one, other = weights(name, 1), weights(name, 2)
    pair, families = matched(table(name), one, other)
    climb = Climb(pair, families, random_orders(table(name), 5))
    for _ in range(3):
        for number in range(len(families)):
            before, begun = climb.total, dict(climb.orders)
            rose = climb.visit(number)
            assert (climb.total > before) if rose else (climb.total == before and climb.orders == begun)
    moved = {key: tensor for key, tensor in Permute.by(table(name), climb.orders)(one).items() if key in climb.inner}
    held = {key: other[key] for key in moved}
    assert climb.total == pytest.approx(inner(Weights.of(moved), Weights.of(held)), rel=1e-6)


def test_one_hidden_layer_is_solved_exactly() -> None:
    models = [seeded_mlp(seed, 3, 5, 2) for seed in range(2)]
    one, other = (lw.load(model) for model in models)
    found = axes(models[0], torch.ones(1, 3))
    (space,) = found.spaces
    best = max(inner(Permute.by(found, {space: torch.tensor(order)})(one), other) for order in permutations(range(5)))
    assert inner(weight_matching(found, one, other)(one), other) == pytest.approx(best, rel=1e-12)


def test_two_hidden_layers_end_where_no_single_layer_gains() -> None:
    models = [seeded_mlp(seed, 3, 4, 4, 2) for seed in range(2)]
    one, other = (lw.load(model) for model in models)
    found = axes(models[0], torch.ones(1, 3))
    moved = weight_matching(found, one, other)(one)
    for space in found.spaces:
        for order in permutations(range(4)):
            assert inner(Permute.by(found, {space: torch.tensor(order)})(moved), other) <= inner(moved, other) + 1e-12


@settings(max_examples=25)
@given(widths=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 2**31), dead=st.booleans(), twins=st.booleans())
def test_align_undoes_any_permutation(widths: list[int], seed: int, dead: bool, twins: bool) -> None:
    state = {name: tensor.clone() for name, tensor in seeded_mlp(seed, 3, *widths, 2).state_dict().items()}
    for at in range(len(widths)):
        if dead:
            _write(state, at, -1, [torch.zeros_like(part) for part in _unit(state, at, 0)])
        if twins:
            _write(state, at, -1, _unit(state, at, 0))
    found = _table(tuple(widths))
    base = Weights.of(state)
    shuffled = Permute.by(found, random_orders(found, seed))(base)
    assert same(weight_matching(found, shuffled, base)(shuffled), base)
    assert not weight_matching(found, base, base).orders


def _unit(state: dict[str, Tensor], layer: int, unit: int) -> list[Tensor]:
    return [state[f"{2 * layer}.weight"][unit].clone(), state[f"{2 * layer}.bias"][unit].clone(), state[f"{2 * layer + 2}.weight"][:, unit].clone()]


def _write(state: dict[str, Tensor], layer: int, unit: int, parts: list[Tensor]) -> None:
    state[f"{2 * layer}.weight"][unit], state[f"{2 * layer}.bias"][unit], state[f"{2 * layer + 2}.weight"][:, unit] = parts


def _table(widths: tuple[int, ...]) -> Axes:
    sizes = (3, *widths, 2)
    lines = [f"{2 * i}.weight : {f'h{i}' if i < len(widths) else 2} <- {f'h{i - 1}' if i else 3}" for i in range(len(sizes) - 1)]
    lines += [f"{2 * i}.bias : {f'h{i}' if i < len(widths) else 2}" for i in range(len(sizes) - 1)]
    return table_for("\n".join(lines), lw.load(mlp(*sizes)))


def test_repeated_units_keep_their_positions() -> None:
    state = {"0.weight": torch.ones(4, 3), "0.bias": torch.tensor([1.0, 2.0, 2.0, 1.0]), "2.weight": torch.ones(2, 4), "2.bias": torch.ones(2)}
    found = _table((4,))
    swapped = Permute.by(found, {"h0": torch.tensor([1, 0, 2, 3])})(Weights.of(state))  # 2, 1, 2, 1
    order = dict(weight_matching(found, swapped, Weights.of(state)).orders)["h0"].tolist()
    assert order == [1, 0, 2, 3]


def test_orders_of_a_permuted_copy_are_the_inverse() -> None:
    base, orders = weights("mlp"), random_orders(table("mlp"), 3)
    found = dict(weight_matching(table("mlp"), Permute.by(table("mlp"), orders)(base), base).orders)
    assert {name: order.tolist() for name, order in found.items()} == {name: order.tolist() for name, order in inverse(table("mlp"), orders).items()}


def test_only_the_named_spaces_move() -> None:
    one, other = weights("mlp", 1), weights("mlp", 2)
    last = list(table("mlp").spaces)[-1]
    assert [name for name, _ in weight_matching(table("mlp"), one, other, spaces=[last]).orders] == [last]


def test_the_result_does_not_depend_on_how_units_happen_to_be_stored() -> None:
    """Why there is a first pass: from the identity alone the end depends on it, and is lower."""
    one, other = weights("mlp", 1), weights("mlp", 2)
    shuffled = [Permute.by(table("mlp"), random_orders(table("mlp"), seed))(one) for seed in range(4)]
    aligned = [weight_matching(table("mlp"), copy, other)(copy) for copy in shuffled]
    assert all(same(copy, aligned[0]) for copy in aligned)
    plain = []
    for copy in shuffled:
        climb = Climb(*matched(table("mlp"), copy, other), {})
        climb.ascend(100, 0)
        plain.append(climb.total)
    assert len({round(total, 6) for total in plain}) > 1
    assert sum(plain) / len(plain) < inner(aligned[0], other)


def test_half_precision_and_a_large_layer() -> None:
    """Above the size where products are in float64."""
    shape = {"a.weight": (600, 100), "b.weight": (10, 600)}
    found = table_for("a.weight : h <- 100\nb.weight : 10 <- h", Weights.of({name: torch.zeros(size) for name, size in shape.items()}))
    generator = torch.Generator().manual_seed(0)
    base = Weights.of({name: torch.randn(size, generator=generator).bfloat16() for name, size in shape.items()})
    shuffled = Permute.by(found, random_orders(found, 1))(base)
    assert same(weight_matching(found, shuffled, base)(shuffled), base)


def test_large_tensors_in_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = weights("llama", 1), weights("llama", 2)
    whole = weight_matching(table("llama"), one, other)
    monkeypatch.setattr("loomweight.align.pairs.PART", 40)
    parts = weight_matching(table("llama"), one, other)
    assert [(name, order.tolist()) for name, order in whole.orders] == [(name, order.tolist()) for name, order in parts.orders]


def test_bad_input_is_named() -> None:
    one, other = weights("mlp"), dict(weights("mlp", 1).items())
    with pytest.raises(NonFinite, match=r"tensor '2\.weight' of the reference set"):
        weight_matching(table("mlp"), one, Weights.of(other | {"2.weight": other["2.weight"] * float("nan")}))
    with pytest.raises(ShapesDiffer, match=r"'0\.bias'"):
        weight_matching(table("mlp"), one, Weights.of(other | {"0.bias": torch.zeros(3)}))
    with pytest.raises(NamesDiffer, match=r"only in the first: '0\.bias'"):
        weight_matching(table("mlp"), one, Weights.of({name: tensor for name, tensor in other.items() if name != "0.bias"}))
    with pytest.raises(NamesDiffer, match="made for another model"):
        weight_matching(table("mlp"), lw.load(nn.LSTM(2, 3)), lw.load(nn.LSTM(2, 3)))
    with pytest.raises(UnknownName, match="no space named 'hidden'"):
        weight_matching(table("mlp"), one, one, spaces=["hidden"])
