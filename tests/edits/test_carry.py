"""Carrying a network into other coordinates: what the maps do to its function."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from loomweight.edits import Carry, Permute, UnitMap, UnitOrder
from loomweight.errors import BadParameter, IntegersDiffer, NamesDiffer, ShapesDiffer, UnknownName
from loomweight.weights import Weights
from loomweight.weights.axes import Axes, axes, random_orders, table_for


class Attention(nn.Module):
    """Heads whose number is free: the stream is as wide as it is."""

    def __init__(self, heads: int, dims: int = 3, width: int = 5) -> None:
        super().__init__()
        self.shape = (heads, dims)
        self.query, self.key, self.value = (nn.Linear(width, heads * dims) for _ in range(3))
        self.out = nn.Linear(heads * dims, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, self.shape).transpose(-2, -3) for part in (self.query, self.key, self.value))
        return self.out(((q @ k.mT / 3**0.5).softmax(-1) @ v).transpose(-2, -3).flatten(-2))


class Stream(nn.Module):
    """A residual stream, a norm of it, and both of them concatenated."""

    def __init__(self, width: int, hidden: int = 4) -> None:
        super().__init__()
        self.enter, self.up, self.down = nn.Linear(3, width), nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(2 * width, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        h = h + self.down(self.up(h).relu())
        return self.out(torch.cat([h, self.norm(h)], -1))


class Memory(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTM(3, width, batch_first=True), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x)[0])


def conv(width: int) -> nn.Module:
    """Convolutions, a norm with statistics, and a flatten: (conv 4) entries for each unit."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width + 1, 1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * (width + 1), 2)
    )


MODELS: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda width: nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, 2)), (6, 3)),
    "conv": (conv, (5, 3, 4, 4)),
    "stream": (Stream, (5, 3)),
    "lstm": (Memory, (2, 4, 3)),
    "heads": (Attention, (2, 4, 5)),
}
every = pytest.mark.parametrize("kind", MODELS)


@cache
def table_of(kind: str, width: int) -> Axes:
    build, shape = MODELS[kind]
    return axes(build(width), torch.ones(shape))


def made(kind: str, width: int, seed: int = 0) -> tuple[nn.Module, Axes, Tensor]:
    torch.manual_seed(seed)
    build, shape = MODELS[kind]
    model, x = build(width).double().eval(), torch.randn(shape, dtype=torch.float64)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0))
    return model, table_of(kind, width), x


def doubling(table: Axes, wide: Axes) -> dict[str, UnitMap]:
    """Every unit twice, what consumed it consumes both by halves; only where the widths differ."""
    found = {}
    for name, space in table.spaces.items():
        factor = wide.spaces[name].size / space.size
        if space.within or factor == 1:
            continue
        makes = torch.zeros(wide.spaces[name].size, space.size, dtype=torch.float64)
        old = torch.arange(wide.spaces[name].size) % space.size
        makes[torch.arange(len(old)), old] = 1
        found[name] = UnitMap(makes, (makes / makes.sum(0)).mT)
    return found


def averaging(maps: dict[str, UnitMap]) -> dict[str, UnitMap]:
    """Back: the units that are one are averaged, what consumed them consumes all of them."""
    return {name: UnitMap(found.consumes, found.makes) for name, found in maps.items()}


@every
@given(seed=st.integers(0, 2**20))
def test_one_hot_is_a_permutation(kind: str, seed: int) -> None:
    model, table, _ = made(kind, 4)
    weights, orders = Weights.of(model.state_dict()), random_orders(table, seed)
    permuted = Permute.by(table, orders)(weights)
    places = {name: UnitOrder(order) for name, order in orders.items()}
    matrices = {name: UnitMap(found.makes, found.consumes) for name, found in places.items()}
    mixed = {name: (places if number % 2 else matrices)[name] for number, name in enumerate(orders)}
    for maps in (places, matrices, mixed):
        carried = Carry.by(table, table, maps)(weights)
        assert all(torch.equal(carried[name], permuted[name]) for name in weights)


@every
@pytest.mark.parametrize("width", [5, 8])
def test_units_that_are_doubled_do_what_one_did(kind: str, width: int) -> None:
    """5 of 4 units: one of them twice, its outgoing weights halved; 8: all of them."""
    model, table, x = made(kind, 4)
    wide_model, wide, _ = made(kind, width, seed=1)
    widened = Carry.by(table, wide, doubling(table, wide))(Weights.of(model.state_dict()))
    wide_model.load_state_dict(dict(widened))
    assert {name: spec.shape for name, spec in widened.spec.items()} == {name: tuple(t.shape) for name, t in wide_model.state_dict().items()}
    if kind != "stream" or width == 8:  # a norm of the stream sees how often each unit is there
        torch.testing.assert_close(wide_model(x), model(x), rtol=0, atol=1e-12)


@every
def test_averaging_units_that_are_one_keeps_the_function(kind: str) -> None:
    """The duplicated-unit test: 8 units that are 4, carried to 4 units, are the network that they came from."""
    model, table, x = made(kind, 4)
    _, wide, _ = made(kind, 8)
    maps = doubling(table, wide)
    weights = Weights.of(model.state_dict())
    there = Carry.by(table, wide, maps)(weights)
    back = Carry.by(wide, table, averaging(maps))(there)
    for name in weights:
        torch.testing.assert_close(back[name], weights[name], rtol=0, atol=1e-14)
    twin, _, _ = made(kind, 4, seed=5)
    twin.load_state_dict(dict(back))
    torch.testing.assert_close(twin(x), model(x), rtol=0, atol=1e-12)


def test_the_papers_normalisation_shrinks_what_ours_keeps() -> None:
    """T diag(1/beta) on the consuming side averages the outgoing weights of merged units: half of the output is lost at half the width."""
    model, table, _ = made("mlp", 4)
    _, wide, _ = made("mlp", 8)
    maps = doubling(table, wide)
    (hidden,) = maps
    wide_weights = Carry.by(table, wide, maps)(Weights.of(model.state_dict()))
    merge = maps[hidden].consumes
    papers = Carry.by(wide, table, {hidden: UnitMap(merge, merge.mT)})(wide_weights)
    torch.testing.assert_close(papers["2.weight"], 0.5 * model.state_dict()["2.weight"])


def test_dims_in_heads_by_a_second_formula() -> None:
    """A soft map of 3 heads with 2 dims into 2 heads with 4 dims is one matrix along the axis, sum over heads of outer times inner."""
    text = "heads = {0}\ndims = {1} in heads\nq : (heads dims) <- 3\no : 3 <- (heads dims)"
    generator = torch.Generator().manual_seed(0)
    q, o = torch.randn(6, 3, generator=generator, dtype=torch.float64), torch.randn(3, 6, generator=generator, dtype=torch.float64)
    old, new = Weights.of({"q": q, "o": o}), Weights.of({"q": torch.zeros(8, 3), "o": torch.zeros(3, 8)})
    table, target = table_for(text.format(3, 2), old), table_for(text.format(2, 4), new)
    outer, outer_back = torch.rand(2, 3, generator=generator).double(), torch.rand(3, 2, generator=generator).double()
    inner, inner_back = torch.rand(2, 3, 4, 2, generator=generator).double(), torch.rand(2, 3, 2, 4, generator=generator).double()
    found = Carry.by(table, target, {"heads": UnitMap(outer, outer_back), "dims": UnitMap(inner, inner_back)})(old)
    whole = torch.cat([torch.cat([outer[i, j] * inner[i, j] for j in range(3)], 1) for i in range(2)], 0)
    back = torch.cat([torch.cat([outer_back[j, i] * inner_back[i, j] for i in range(2)], 1) for j in range(3)], 0)
    torch.testing.assert_close(found["q"], whole @ q)
    torch.testing.assert_close(found["o"], o @ back)
    alone = Carry.by(
        table, table_for(text.format(3, 4), Weights.of({"q": torch.zeros(12, 3), "o": torch.zeros(3, 12)})), {"dims": UnitMap(inner[0], inner_back[0])}
    )
    torch.testing.assert_close(alone(old)["q"], torch.block_diag(*inner[0]) @ q)


def test_sums_and_products_along_one_axis() -> None:
    old = Weights.of({"a": torch.ones(2, 1), "b": torch.ones(3, 1), "mix": torch.arange(7.0)[None]})
    text = "a : left <- 1\nb : right <- 1\nmix : 1 <- (2 left + right)"
    table = table_for(text, old)
    target = table_for(text, Weights.of({"a": torch.ones(1, 1), "b": torch.ones(3, 1), "mix": torch.zeros(1, 5)}))
    merge = UnitMap(torch.full((1, 2), 0.5), torch.ones(2, 1))
    assert Carry.by(table, target, {"left": merge})(old)["mix"].tolist() == [[0 + 1, 2 + 3, 4, 5, 6]]


def test_a_set_is_read_when_it_is_asked_for_and_stays_as_it_was() -> None:
    model, table, _ = made("mlp", 4)
    weights = Weights.of(model.state_dict())
    before = {name: tensor.clone() for name, tensor in weights.items()}
    edit = Carry.by(table, table, {next(iter(table.spaces)): UnitMap(torch.full((4, 4), 0.25), torch.full((4, 4), 0.25))})
    assert dict(edit(weights)).keys() == before.keys()
    assert all(torch.equal(weights[name], before[name]) for name in before)
    assert torch.equal(weights.map(edit)["0.bias"], edit(weights)["0.bias"])


def test_bad_maps() -> None:
    weights = Weights.of({"a": torch.ones(2, 1), "n": torch.tensor([1, 2])})
    table = table_for("a : units <- 1\nn : units", weights)
    other = table_for("a : units <- 1\nn : units", Weights.of({"a": torch.ones(3, 1), "n": torch.tensor([1, 2, 3])}))
    soft = UnitMap(torch.full((2, 2), 0.5), torch.full((2, 2), 0.5))
    with pytest.raises(UnknownName, match="no space named 'unit'"):
        Carry.by(table, table, {"unit": soft})
    with pytest.raises(ShapesDiffer, match="space 'units' has 2 units here and 3 in the target; give a map"):
        Carry.by(table, other, {})
    with pytest.raises(BadParameter, match=r"map of space 'units' must have `makes` of shape \(3, 2\)"):
        Carry.by(table, other, {"units": soft})
    with pytest.raises(NamesDiffer, match="only in the first: 'n'"):
        Carry.by(table, table_for("a : units <- 1", Weights.of({"a": torch.ones(2, 1)})), {})
    with pytest.raises(ShapesDiffer, match="different things of tensor 'a'"):
        Carry.by(table, table_for("a : units <- _\nn : units", Weights.of({"a": torch.ones(2, 3), "n": torch.tensor([1, 2])})), {})
    with pytest.raises(IntegersDiffer, match="integer tensor 'n' would be mixed"):
        Carry.by(table, table, {"units": soft})(weights)["n"]
    with pytest.raises(ShapesDiffer, match=r"tensor 'a' of shape \(2, 1\) becomes \(3, 1\)"):
        weights.map(Carry.by(table, other, {"units": UnitMap(torch.ones(3, 2), torch.ones(2, 3))}))
    swap = Carry.by(table, table, {"units": UnitOrder(torch.tensor([1, 0]))})
    assert swap(weights)["n"].tolist() == [2, 1]
