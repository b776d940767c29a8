"""Fusing networks of different depth: layers in order, layers that change nothing, layers that are merged."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from loomweight.align import LayerEvidence, Network, Stage, cla_fusion, layer_evidence
from loomweight.align.layer_match import by_position, monotone
from loomweight.edits import Permute
from loomweight.errors import BadParameter, NamesDiffer, ShapesDiffer, UnknownName
from loomweight.rules import Mean, combine
from loomweight.weights import Weights, from_module
from loomweight.weights.axes import Axes, axes, random_orders

from .digits import Mlp, accuracy, digits, seeded, trained


class Residual(nn.Module):
    """Blocks as in a ResNet: a sum behind a norm, then a ReLU."""

    class Block(nn.Module):
        def __init__(self, width: int, inner: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(width, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
            self.conv2, self.bn2 = nn.Conv2d(inner, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

        def forward(self, x: Tensor) -> Tensor:
            return (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()

    def __init__(self, depth: int, width: int = 5, inner: int = 6) -> None:
        super().__init__()
        self.enter, self.norm = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(*(self.Block(width, inner) for _ in range(depth)))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.norm(self.enter(x)).relu()).mean((-1, -2)))


class Encoder(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(11, 12), nn.Linear(12, 5)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, batch_first=True, norm_first=True) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for layer in self.layers:
            h = layer(h)
        return self.out(h)


def convolutions(depth: int, width: int = 4) -> nn.Module:
    """Convolution, batch norm and ReLU numbered in one run, as in VGG."""
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Conv2d(width if number else 1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


def chain(depth: int, width: int = 6) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(4, width)]
    for _ in range(depth - 1):
        layers += [nn.ReLU(), nn.Linear(width, width)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(width, 3))


IMAGES, IDS, ROWS = torch.rand(3, 1, 6, 6), torch.randint(0, 11, (3, 5)), torch.randn(7, 4)
KINDS: dict[str, tuple[Callable[[int], nn.Module], Tensor]] = {
    "chain": (chain, ROWS),
    "convolutions": (convolutions, IMAGES),
    "residual": (Residual, IMAGES),
    "encoder": (Encoder, IDS),
}


def made(kind: str, depth: int, seed: int) -> tuple[nn.Module, Axes, Weights]:
    """A model whose norms have random parameters and statistics."""
    build, x = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(depth).eval()
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.copy_(torch.rand_like(tensor) + (0.5 if name.endswith(("weight", "var")) else 0))
    return model, axes(model, x), from_module(model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depths", [(1, 3), (2, 5)], ids=str)
def test_a_deeper_network_with_the_same_function(kind: str, depths: tuple[int, int]) -> None:
    """Balanced and carried into a reference of the same width, the shallower network computes what it did."""
    (model, table, weights), (deep, deep_table, reference) = made(kind, depths[0], 0), made(kind, depths[1], 1)
    mapped = cla_fusion(table, weights, deep_table, reference)(weights)
    assert mapped.names == reference.names and {name: spec.shape for name, spec in mapped.spec.items()} == {n: s.shape for n, s in reference.spec.items()}
    wanted = model(KINDS[kind][1]).detach()
    deep.load_state_dict(dict(mapped))
    torch.testing.assert_close(deep(KINDS[kind][1]).detach(), wanted, rtol=1e-4, atol=1e-5)
    assert combine([mapped, reference], Mean()).names == reference.names


def test_inside_added_blocks_is_the_reference() -> None:
    (_, table, weights), (_, deep_table, reference) = made("residual", 1, 0), made("residual", 2, 1)
    mapped = cla_fusion(table, weights, deep_table, reference, evidence=LayerEvidence((torch.tensor([[0.0, 1.0]]),), {}))(weights)
    kept = [name for name in reference if name.startswith("blocks.1.") and torch.equal(mapped[name], reference[name])]
    assert {"blocks.1.conv1.weight", "blocks.1.bn1.weight", "blocks.1.bn1.running_var"} <= set(kept)
    assert not any(mapped[f"blocks.1.{name}"].any() for name in ("conv2.weight", "bn2.bias"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_deepened_permuted_copy_is_recovered(kind: str) -> None:
    """The deeper network is the shallower one with layers that change nothing, shuffled: it is found again, layer by layer."""
    (_, table, weights), (_, deep_table, other) = made(kind, 2, 0), made(kind, 4, 1)
    deepened = cla_fusion(table, weights, deep_table, other)(weights)
    reference = Permute.by(deep_table, random_orders(deep_table, 3))(deepened)
    again = cla_fusion(table, weights, deep_table, reference)(weights)
    for name in reference:
        torch.testing.assert_close(again[name], reference[name], rtol=0, atol=0)


def apart(seed: int, *widths: int) -> tuple[nn.Module, Axes, Weights]:
    images, labels, _, _ = digits()
    model = trained(seeded(seed, Mlp, *widths), images, labels, seed=seed, epochs=20)
    return model, axes(model, images[:2]), from_module(model)


def score(weights: Weights, *widths: int) -> float:
    model = Mlp(*widths)
    model.load_state_dict(dict(weights))
    return accuracy(model, *digits()[2:])


@pytest.mark.parametrize(("depth", "margin"), [(3, 0.15), (4, 0.3)])
def test_two_layers_and_more_trained_apart(depth: int, margin: float) -> None:
    """The shallower network in the deeper one's coordinates is as good as it was; the average with it is far above that without transport."""
    widths = (64,) * depth
    (shallow, table, moving), (deep, deep_table, reference) = apart(0, 64, 64), apart(1, *widths)
    evidence = layer_evidence(Network(table, shallow), Network(deep_table, deep), digits()[0].split(200))
    edit = cla_fusion(table, moving, deep_table, reference, evidence=evidence)
    assert score(edit(moving), *widths) == accuracy(shallow, *digits()[2:]) > 0.93
    naive = score(combine([edit.balance(moving), reference], Mean()), *widths)
    fused = score(combine([edit(moving), reference], Mean()), *widths)
    assert fused > naive + margin and fused > 0.7


def test_other_depth_and_other_width() -> None:
    """48 units in 2 layers to 32 in 4, and back by merging: what is mapped still tells digits apart, and so do the averages."""
    (shallow, table, moving), (deep, deep_table, reference) = apart(0, 48, 48), apart(1, 32, 32, 32, 32)
    there, here = Network(deep_table, deep), Network(table, shallow)
    images = digits()[0].split(200)
    deeper = cla_fusion(table, moving, deep_table, reference, evidence=layer_evidence(here, there, images))(moving)
    merged = cla_fusion(deep_table, reference, table, moving, evidence=layer_evidence(there, here, images))(reference)
    assert score(deeper, 32, 32, 32, 32) > 0.5 and score(merged, 48, 48) > 0.5
    assert score(combine([deeper, reference], Mean()), 32, 32, 32, 32) > 0.5 and score(combine([merged, moving], Mean()), 48, 48) > 0.5


def test_merged_layers() -> None:
    """Where no ReLU cuts anything off, merging is exact; the units that are cut off for all data are left out."""
    deep, deep_table, moving = made("chain", 4, 0)
    state = {name: tensor.abs() for name, tensor in moving.items()}
    rows = ROWS.abs()
    deep.load_state_dict(state)
    shallow, table, reference = made("chain", 2, 1)
    evidence = layer_evidence(Network(deep_table, deep), Network(table, shallow), [rows])
    mapped = cla_fusion(deep_table, Weights.of(state), table, reference, evidence=evidence)(Weights.of(state))
    shallow.load_state_dict(dict(mapped))
    torch.testing.assert_close(shallow(rows), deep(rows), rtol=1e-4, atol=1e-4)
    dead = state | {"2.weight": -state["2.weight"], "2.bias": -state["2.bias"]}
    deep.load_state_dict(dead)
    stages = [Stage(("0", "2", "4", "6", "8"), ("0", "2", "4"))]
    costs = torch.tensor([[0, 9, 9], [9, 9, 9], [9, 9, 9], [9, 0, 9], [9, 9, 0.0]])
    active = layer_evidence(Network(deep_table, deep), Network(table, shallow), [rows], layers=stages).active
    mapped = cla_fusion(deep_table, Weights.of(dead), table, reference, layers=stages, evidence=LayerEvidence((costs,), active))(Weights.of(dead))
    shallow.load_state_dict(dict(mapped))
    torch.testing.assert_close(shallow(rows), deep(rows), rtol=1e-4, atol=1e-4)


@given(data=st.data(), rows=st.integers(1, 4), more=st.integers(0, 4))
def test_alignment_by_brute_force(data: Any, rows: int, more: int) -> None:
    numbers = st.lists(st.integers(0, 9), min_size=rows + more, max_size=rows + more)
    cost = torch.tensor(data.draw(st.lists(numbers, min_size=rows, max_size=rows)), dtype=torch.float64)

    def total(columns: Any) -> float:
        return float(sum(cost[row, column] for row, column in enumerate(columns)))

    found = monotone(cost)
    assert found == sorted(set(found)) and len(found) == rows
    assert total(found) == min(map(total, combinations(range(rows + more), rows)))
    assert monotone(cost + 3) == found
    mirrored = monotone(cost.flip(0, 1))
    assert total([rows + more - 1 - column for column in mirrored][::-1]) == total(found)
    assert monotone(torch.cat([cost, torch.full((rows, 1), torch.inf)], 1)) == found


def test_by_hand() -> None:
    assert monotone(torch.tensor([[5.0, 1, 0], [5, 0, 2]])) == [1, 2]  # 0 and 0 would cross
    assert monotone(torch.zeros(2, 4)) == [0, 1]
    assert monotone(by_position(2, 4)) == [0, 2] or monotone(by_position(2, 4)) == [1, 3]
    assert monotone(by_position(3, 3)) == [0, 1, 2]
    with pytest.raises(BadParameter, match="3 layers cannot be matched to 2 in order"):
        monotone(torch.zeros(3, 2))


@given(seed=st.integers(0, 2**20))
@settings(max_examples=5)
def test_unlikeness_by_a_second_formula(seed: int) -> None:
    """CKA from features, ||Y^T X||^2 / (||X^T X|| ||Y^T Y||); turning and scaling what a layer puts out does not change it."""
    generator = torch.Generator().manual_seed(seed)
    model, table, _ = made("chain", 1, 0)
    deep, deep_table, _ = made("chain", 2, 1)
    x = torch.randn(20, 4, generator=generator)
    batches = [x[:8], x[8:]]
    (cost,) = layer_evidence(Network(table, model), Network(deep_table, deep), batches).costs
    first, second = model[0](x).double().detach(), deep[:3](x).double().detach()  # type: ignore[index]
    a, b = first - first.mean(0), second - second.mean(0)
    cka = (b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    torch.testing.assert_close(cost[0, 1], 1 - cka, rtol=1e-5, atol=1e-6)
    (own,) = layer_evidence(Network(table, model), Network(table, model), batches, layers=["*"]).costs
    assert own.diagonal().abs().max() < 1e-9
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    with torch.no_grad():
        model[0].weight.copy_(3 * turn @ model[0].weight)  # type: ignore[index]
        model[0].bias.copy_(3 * turn @ model[0].bias)  # type: ignore[index]
    (turned,) = layer_evidence(Network(table, model), Network(deep_table, deep), batches).costs
    torch.testing.assert_close(turned[0], cost[0], rtol=1e-4, atol=1e-5)


def test_bad_input() -> None:
    (_, table, weights), (deep_model, deep_table, reference) = made("chain", 1, 0), made("chain", 3, 1)
    _, other_table, other = made("residual", 1, 0)
    with pytest.raises(NamesDiffer, match="outside of the layers that differ"):
        cla_fusion(table, weights, other_table, other)
    with pytest.raises(UnknownName, match=r"no run of layers that matches|no run of layers named 'h\.\*'"):
        cla_fusion(table, weights, deep_table, reference, layers=["h.*"])
    with pytest.raises(BadParameter, match="one star, at the end"):
        cla_fusion(table, weights, deep_table, reference, layers=["h.*.mlp"])
    with pytest.raises(UnknownName, match="no layer named '7'"):
        cla_fusion(table, weights, deep_table, reference, layers=[Stage(("7",), ("0",))])
    with pytest.raises(BadParameter, match="has to be merged into '6', which needs evidence"):
        cla_fusion(deep_table, reference, *made("chain", 2, 0)[1:], layers=[Stage(("0", "2", "4", "6"), ("0", "2", "4"))])
    with pytest.raises(BadParameter, match="collect it with the same layers"):
        cla_fusion(table, weights, deep_table, reference, evidence=LayerEvidence((), {}))
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(BadParameter, match=r"layers '0' to '2' of the moving network and '0' to '6' .* do not correspond: .* each to one of its kind"):
        cla_fusion(axes(plain, ROWS), from_module(plain), deep_table, reference)
    _, two_table, two = made("residual", 2, 0)
    with pytest.raises(BadParameter, match="map the shallower network"):
        cla_fusion(two_table, two, other_table, other)
    with pytest.raises(BadParameter, match="no module"):
        layer_evidence(Network(table, nn.Linear(1, 1)), Network(deep_table, deep_model), [ROWS])
    with pytest.raises(BadParameter, match="no batch"):
        layer_evidence(Network(table, deep_model), Network(deep_table, deep_model), [])
    edit = cla_fusion(table, weights, deep_table, reference)
    with pytest.raises(BadParameter, match="call the edit itself"):
        weights.map(edit)
    four = Residual(1).eval()
    four.head = nn.Linear(5, 4)
    with pytest.raises(ShapesDiffer, match=r"tensor 'head.weight'.* cannot stand for 'head.weight' of the reference"):
        cla_fusion(axes(four, IMAGES), from_module(four), two_table, two)
    wide = Residual(2, 7).eval()
    assert cla_fusion(other_table, other, axes(wide, IMAGES), from_module(wide))(other)["head.weight"].shape == (3, 7)


def pooled(depth: int, width: int = 4) -> nn.Module:
    """`depth` convolutions, pooling, `depth` convolutions, in one run of numbers."""
    layers: list[nn.Module] = []
    for part in range(2):
        for number in range(depth):
            layers += [nn.Conv2d(width if part or number else 1, width, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(nn.Sequential(*layers), nn.Flatten(), nn.Linear(width, 3))


def test_stages_between_poolings() -> None:
    """Given by hand, as in the authors' VGGs, layers stay on their side of a pooling."""
    shallow, deep = (seeded(seed, pooled, depth).eval() for seed, depth in ((0, 1), (1, 3)))  # type: ignore[arg-type]
    weights, reference, x = from_module(shallow), from_module(deep), IMAGES[..., :4, :4]
    by_hand = [Stage(("0.0",), ("0.0", "0.2", "0.4")), Stage(("0.3",), ("0.7", "0.9", "0.11"))]
    wanted = shallow(x).detach()
    deep.load_state_dict(dict(cla_fusion(axes(shallow, x), weights, axes(deep, x), reference, layers=by_hand)(weights)))
    torch.testing.assert_close(deep(x).detach(), wanted, rtol=1e-4, atol=1e-5)
