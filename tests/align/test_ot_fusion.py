"""Fusing networks by optimal transport: what it recovers, what it keeps, what it is good for."""

import sys
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from loomweight.align import Network, Transport, activation_costs, ot_align_all, ot_fusion
from loomweight.align.transport import unit_map
from loomweight.edits import Carry, Permute, UnitMap
from loomweight.errors import BadParameter, MissingExtra, NamesDiffer, NonFinite, ShapesDiffer, TooFewSets
from loomweight.rules import Mean, combine
from loomweight.weights import Weights, from_module
from loomweight.weights.axes import Axes, axes, random_orders, table_for

from .digits import Cnn, Mlp, accuracy, digits, seeded, trained


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(11, 12), nn.Linear(12, 5)
        self.body = nn.TransformerEncoder(nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(self.embed(x)))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.body, self.out = kind(3, 7, 2, batch_first=True), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x)[0])


KINDS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "mlp": (lambda: Mlp(9, 7), torch.zeros(2, 1, 8, 8)),
    "cnn": (lambda: Cnn(4, 6), torch.zeros(2, 1, 8, 8)),
    "encoder": (Encoder, torch.zeros(2, 4, dtype=torch.int64)),
    "lstm": (lambda: Recurrent(nn.LSTM), torch.zeros(2, 4, 3)),
    "gru": (lambda: Recurrent(nn.GRU), torch.zeros(2, 4, 3)),
}


@cache
def table_of(kind: str) -> Axes:
    build, x = KINDS[kind]
    return axes(build().eval(), x)


def random_set(kind: str, seed: int) -> Weights:
    """Weights of a kind, all entries random, those of norms too."""
    generator = torch.Generator().manual_seed(seed)
    state = KINDS[kind][0]().state_dict()
    return Weights.of({name: torch.rand(t.shape, generator=generator) - 0.3 if t.is_floating_point() else t for name, t in state.items()})


@cache
def apart(seed: int, *widths: int) -> tuple[Mlp, Axes, Weights]:
    images, labels, _, _ = digits()
    model = trained(seeded(seed, Mlp, *widths), images, labels, seed=seed)
    return model, axes(model, images[:2]), from_module(model)  # type: ignore[return-value]


def score(weights: Weights, *widths: int) -> float:
    model = Mlp(*widths)
    model.load_state_dict(dict(weights))
    return accuracy(model, *digits()[2:])


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**20))
@settings(max_examples=5)
def test_a_permuted_copy_is_recovered(kind: str, seed: int) -> None:
    table, weights = table_of(kind), random_set(kind, seed)
    shuffled = Permute.by(table, random_orders(table, seed))(weights)
    back = ot_fusion(table, shuffled, table, weights)(shuffled)
    assert all(torch.equal(back[name], weights[name]) for name in weights)


@pytest.mark.parametrize("kind", KINDS)
def test_one_width_exact_is_a_permutation(kind: str) -> None:
    table = table_of(kind)
    edit = ot_fusion(table, random_set(kind, 0), table, random_set(kind, 1))
    for _, found in edit.maps:
        assert set(found.makes.unique().tolist()) <= {0, 1}
        assert (found.makes.sum(-1) == 1).all() and (found.makes.sum(-2) == 1).all()
        assert torch.equal(found.consumes, found.makes.mT)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**20))
@settings(max_examples=4)
def test_the_order_in_which_units_come_does_not_matter(kind: str, seed: int) -> None:
    """A shuffled network is carried to where the network itself is; and what is carried stays, carried again."""
    table, moving, reference = table_of(kind), random_set(kind, 2), random_set(kind, 3)
    shuffled = Permute.by(table, random_orders(table, seed))(moving)
    one, other = (ot_fusion(table, weights, table, reference)(weights) for weights in (moving, shuffled))
    again = ot_fusion(table, one, table, reference)(one)
    assert all(torch.equal(one[name], other[name]) and torch.equal(one[name], again[name]) for name in one)


def test_units_that_are_alike_keep_their_places() -> None:
    """Equal units, dead ones too, cannot be told apart: they stay, and a network carried to itself does not move."""
    table, weights = table_of("mlp"), dict(random_set("mlp", 0))
    for name in ("body.1.weight", "body.1.bias"):
        weights[name] = weights[name].index_select(0, torch.tensor([0, 1, 2, 0, 4, 2, 1, 0, 8])) * torch.tensor([1.0, 0, 1, 1, 1, 1, 0, 1, 1]).view(
            -1, *[1] * (weights[name].ndim - 1)
        )
    found = dict(ot_fusion(table, Weights.of(weights), table, Weights.of(weights)).maps)
    assert all(torch.equal(one.order, torch.arange(len(one.order))) for one in found.values() if one.order is not None) and len(found) == 2


class Gated(nn.Module):
    """A recurrent layer on a residual stream behind an embedding."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.embed, self.cell = nn.Embedding(9, width), nn.LSTM(width, hidden, batch_first=True)
        self.back, self.norm, self.out = nn.Linear(hidden, width), nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        return self.out(self.norm(h + self.back(self.cell(h)[0])))


SIZED: dict[str, tuple[Callable[..., nn.Module], Tensor]] = {
    "mlp": (Mlp, KINDS["cnn"][1]),
    "cnn": (Cnn, KINDS["cnn"][1]),
    "gated": (Gated, KINDS["encoder"][1]),
}


@pytest.mark.parametrize("transport", [Transport(), Transport(mass="l1"), Transport(squared=True, rounds=3)], ids=["plain", "mass", "squared"])
@pytest.mark.parametrize(("kind", "factor"), [("mlp", 2), ("mlp", 3), ("cnn", 2), ("gated", 2)])
def test_units_that_are_there_several_times_are_merged_and_split(transport: Transport, kind: str, factor: int) -> None:
    """The network with every unit `factor` times, outgoing weights divided, carried to the narrow one is the narrow one; and back it is itself."""
    build, x = SIZED[kind]
    weights, table, wide_table = from_module(seeded(4, build, 5, 6)), axes(build(5, 6).eval(), x), axes(build(5 * factor, 6 * factor).eval(), x)
    copies = {name: torch.eye(space.size).repeat(factor, 1) for name, space in table.spaces.items()}
    wide = Carry.by(table, wide_table, {name: UnitMap(copy, copy.mT / factor) for name, copy in copies.items()})(weights)
    narrow = ot_fusion(wide_table, wide, table, weights, transport=transport)(wide)
    for name in weights:
        torch.testing.assert_close(narrow[name], weights[name], rtol=1e-5, atol=1e-6)
    if transport.mass == "uniform":
        again = ot_fusion(table, weights, wide_table, wide, transport=transport)(weights)
        for name in wide:
            torch.testing.assert_close(again[name], wide[name], rtol=1e-5, atol=1e-6)


def test_networks_trained_apart() -> None:
    """The paper's claim, small: the average of two networks is bad, of two aligned ones nearly as good as they are."""
    (_, table, first), (_, _, second) = apart(0, 64, 64), apart(1, 64, 64)
    parents = min(score(first, 64, 64), score(second, 64, 64))
    naive = score(combine([first, second], Mean()), 64, 64)
    fused = score(combine([ot_fusion(table, first, table, second)(first), second], Mean()), 64, 64)
    assert parents > 0.93 and naive < parents - 0.2 and fused > parents - 0.03


def test_four_networks_trained_apart() -> None:
    """Aligned to one of them they can be averaged, all four, where their plain average is little better than a guess."""
    models = [apart(seed, 64, 64)[1:] for seed in range(4)]
    edits = ot_align_all(models, reference=2)
    naive = score(combine([weights for _, weights in models], Mean()), 64, 64)
    fused = score(combine([edit(weights) for edit, (_, weights) in zip(edits, models, strict=True)], Mean()), 64, 64)
    assert fused > 0.85 and naive < fused - 0.3


def test_half_the_width() -> None:
    """64 -> 32: the network alone still works after it is carried, and its average with a trained one is far above that with its first 32 units."""
    (_, wide_table, wide), (_, table, narrow) = apart(1, 64, 64), apart(11, 32, 32)
    carried = ot_fusion(wide_table, wide, table, narrow)(wide)
    cut = Weights.of({name: wide[name][tuple(map(slice, spec.shape))] for name, spec in narrow.spec.items()})
    parents = min(score(wide, 64, 64), score(narrow, 32, 32))
    assert {name: spec.shape for name, spec in carried.spec.items()} == {name: spec.shape for name, spec in narrow.spec.items()}
    assert score(carried, 32, 32) > parents - 0.05 > score(cut, 32, 32) + 0.1
    assert score(combine([carried, narrow], Mean()), 32, 32) > parents - 0.05 > score(combine([cut, narrow], Mean()), 32, 32) + 0.1
    back = ot_fusion(table, narrow, wide_table, wide)(narrow)
    assert score(back, 64, 64) > score(narrow, 32, 32) - 0.01
    assert score(combine([back, wide], Mean()), 64, 64) > parents - 0.05


def test_maps_are_as_precise_as_the_weights() -> None:
    """Kept in float32 for weights that are carried in float32, which makes no difference there; in float64 for others."""
    (wide, x), narrow = (seeded(0, Mlp, 9, 7), torch.zeros(2, 1, 8, 8)), seeded(1, Mlp, 5, 4)
    sets = [from_module(model) for model in (wide, narrow)]
    double = [Weights.of({name: tensor.double() for name, tensor in weights.items()}) for weights in sets]
    tables = axes(wide, x), axes(narrow, x)
    edits = [ot_fusion(tables[0], ours, tables[1], theirs) for ours, theirs in (sets, double)]
    for edit, dtype in zip(edits, (torch.float32, torch.float64), strict=True):
        assert {found.makes.dtype for _, found in edit.maps} == {found.consumes.dtype for _, found in edit.maps} == {dtype}
    for name, tensor in edits[0](sets[0]).items():
        torch.testing.assert_close(tensor.double(), edits[1](double[0])[name], rtol=1e-5, atol=1e-6)


def test_the_papers_normalisation() -> None:
    """At half the width T diag(1/b) is half of diag(1/a) T on the consuming side; at one width they are the same."""
    (_, wide_table, wide), (_, table, narrow) = apart(1, 64, 64), apart(11, 32, 32)
    ours, papers = (dict(ot_fusion(wide_table, wide, table, narrow, transport=Transport(rounds=1, shrink=shrink)).maps) for shrink in (False, True))
    first = next(iter(table.spaces))
    torch.testing.assert_close(ours[first].makes, papers[first].makes)
    torch.testing.assert_close(ours[first].consumes / 2, papers[first].consumes)
    same = [dict(ot_fusion(table, narrow, table, apart(12, 32, 32)[2], transport=Transport(shrink=shrink)).maps) for shrink in (False, True)]
    assert all(torch.equal(same[0][name].consumes, same[1][name].consumes) for name in same[0])


def test_activations() -> None:
    (first, table, weights), (second, _, others) = apart(0, 64, 64), apart(1, 64, 64)
    images = digits()[0]
    costs = activation_costs(Network(table, first), Network(table, second), [images[:100], images[100:300]])
    seen = [nn.Sequential(*list(model.body)[:2])(images[:300]).detach().double() for model in (first, second)]
    by_hand = (seen[0].T[:, None] - seen[1].T[None]).square().sum(-1)
    torch.testing.assert_close(costs[next(iter(table.spaces))][0, :, 0], by_hand, rtol=1e-4, atol=1e-4)
    edit = ot_fusion(table, weights, table, others, costs=costs)
    assert score(combine([edit(weights), others], Mean()), 64, 64) > 0.9
    shuffled = Permute.by(table, random_orders(table, 1))(weights)
    twin = Mlp(64, 64)
    twin.load_state_dict(dict(shuffled))
    back = ot_fusion(table, shuffled, table, weights, costs=activation_costs(Network(table, twin), Network(table, first), [images[:200]]))(shuffled)
    assert all(torch.equal(back[name], weights[name]) for name in weights)


@pytest.mark.parametrize("kind", ["cnn", "encoder", "lstm"])
def test_activations_where_modules_put_them_out(kind: str) -> None:
    """Spaces that modules put out are there, of the right shape, 0 for the same model; norms stand for the layers before them."""
    table, model = table_of(kind), KINDS[kind][0]().eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 11, (3, 4), generator=generator) if kind == "encoder" else torch.rand((3, *KINDS[kind][1].shape[1:]), generator=generator)
    costs = activation_costs(Network(table, model), Network(table, model), [x])
    assert set(costs) == {"cnn": {"conv1", "conv2"}, "encoder": {"embed", "body.layers.0.linear1", "body.layers.1.linear1"}, "lstm": {"body_2"}}[kind]
    for name, cost in costs.items():
        assert cost.shape == (1, table.spaces[name].size) * 2
        assert cost[0, :, 0].diagonal().abs().max() < 1e-5 < cost.max()


def test_heads_are_transported_by_their_dims() -> None:
    """Four heads of which two are the other two, in another order of dims, into two heads."""
    text = "heads = {0}\ndims = 4 in heads\nq : (heads dims) <- 5\nk : (heads dims) <- 5\no : 5 <- (heads dims)"
    generator = torch.Generator().manual_seed(0)
    narrow = Weights.of({"q": torch.randn(8, 5, generator=generator), "k": torch.randn(8, 5, generator=generator), "o": torch.randn(5, 8, generator=generator)})
    table = table_for(text.format(2), narrow)
    twice = {name: torch.cat([t, t], 0 if name != "o" else 1) / (2 if name == "o" else 1) for name, t in narrow.items()}
    wide = Weights.of(twice)
    wide_table = table_for(text.format(4), wide)
    shuffled = Permute.by(wide_table, random_orders(wide_table, 5))(wide)
    back = ot_fusion(wide_table, shuffled, table, narrow)(shuffled)
    for name in narrow:
        torch.testing.assert_close(back[name], narrow[name])


def test_queries_of_a_group_are_told_without_the_order_of_their_dims() -> None:
    text = "groups = 2\nqueries = 3 in groups\ndims = 4 in groups\nk : (groups dims) <- 5\nq : (groups queries dims) <- 5"
    generator = torch.Generator().manual_seed(0)
    weights = Weights.of({"k": torch.randn(8, 5, generator=generator), "q": torch.randn(24, 5, generator=generator)})
    table = table_for(text, weights)
    shuffled = Permute.by(table, random_orders(table, 3))(weights)
    back = ot_fusion(table, shuffled, table, weights)(shuffled)
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_dead_and_repeated_units() -> None:
    table, moving, reference = table_of("mlp"), dict(random_set("mlp", 0)), random_set("mlp", 1)
    name = "body.1.weight"
    moving[name] = moving[name].index_fill(0, torch.tensor([1, 4]), 0).index_copy(0, torch.tensor([2]), moving[name][3:4])
    for transport in (Transport(), Transport(mass="l2"), Transport(reg=0.1), Transport(mass="l1", reg=0.1)):
        edit = ot_fusion(table, Weights.of(moving), table, reference, transport=transport)
        assert all(t.isfinite().all() for _, t in edit(Weights.of(moving)).items())
    dead = Weights.of({key: torch.zeros_like(t) for key, t in moving.items()})
    assert all(t.isfinite().all() for mass in ("uniform", "l2") for _, t in ot_fusion(table, dead, table, dead, transport=Transport(mass=mass))(dead).items())


@given(seed=st.integers(0, 2**20), units=st.integers(1, 7), others=st.integers(1, 7))
@settings(max_examples=25)
def test_plans(seed: int, units: int, others: int) -> None:
    """Sums are the masses; the exact plan costs what POT says; the regularised plan costs more and comes near for small reg."""
    import ot

    draw = np.random.default_rng(seed)
    cost = torch.from_numpy(draw.random((units, others)))
    mass, other = (torch.full((n,), 1 / n, dtype=torch.float64) for n in (units, others))
    exact, soft, flat = (Transport(reg=reg).plan(cost, mass, other) for reg in (None, 0.05, 1e4))
    for plan in (exact, soft):
        torch.testing.assert_close(plan.sum(1), mass, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(plan.sum(0), other, rtol=1e-3, atol=1e-5)
    assert abs(float((exact * cost).sum()) - ot.emd2(mass.numpy(), other.numpy(), cost.numpy())) < 1e-9
    assert float((exact * cost).sum()) - 1e-4 <= float((soft * cost).sum()) <= float((exact * cost).sum()) + 0.1
    torch.testing.assert_close(flat, mass[:, None] * other[None], rtol=0, atol=1e-3)
    found = unit_map(soft)
    torch.testing.assert_close(found.makes.double().sum(1), torch.ones(others, dtype=torch.float64))
    torch.testing.assert_close(found.consumes.double().sum(1), torch.ones(units, dtype=torch.float64))


def test_many_to_one_and_to_their_mean() -> None:
    table, weights = table_of("cnn"), random_set("cnn", 0)
    copies = [Permute.by(table, random_orders(table, seed))(weights) for seed in (1, 2)]
    for refine in (0, 2):
        edits = ot_align_all([(table, copies[0]), (table, weights), (table, copies[1])], reference=1, refine=refine)
        for edit, given_ in zip(edits, (copies[0], weights, copies[1]), strict=True):
            assert all(torch.equal(edit(given_)[name], weights[name]) for name in weights)
    several = [(table, random_set("cnn", seed)) for seed in (1, 2, 3)]
    spread = {refine: _spread([edit(weights) for edit, (_, weights) in zip(ot_align_all(several, refine=refine), several, strict=True)]) for refine in (0, 3)}
    assert spread[3] <= spread[0] < _spread([weights for _, weights in several])


def _spread(sets: list[Weights]) -> float:
    """Sum of squared distances to the mean."""
    names = [name for name, spec in sets[0].spec.items() if spec.averages]
    return sum(float(torch.stack([weights[name].double() for weights in sets]).var(0, unbiased=False).sum()) for name in names)


def test_without_pot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    table, moving, reference = table_of("mlp"), random_set("mlp", 0), random_set("mlp", 1)
    ot_fusion(table, moving, table, reference)
    with pytest.raises(MissingExtra, match=r"pip install 'loomweight\[align\]'"):
        ot_fusion(table, moving, table, reference, transport=Transport(reg=0.1))


def test_bad_input() -> None:
    table, weights = table_of("mlp"), random_set("mlp", 0)
    with pytest.raises(NamesDiffer, match="different tensors"):
        ot_fusion(table, weights, table_of("cnn"), random_set("cnn", 0))
    with pytest.raises(ShapesDiffer, match=r"tensor 'body.1.weight' has shape \(9, 64\), but it has \(8, 64\)"):
        ot_fusion(table, weights, table, from_module(Mlp(8, 7)))
    space = next(iter(table.spaces))
    with pytest.raises(BadParameter, match=rf"costs of space {space!r} must have shape \(1, 9, 1, 9\), found \(2, 2\)"):
        ot_fusion(table, weights, table, weights, costs={space: torch.zeros(2, 2)})
    with pytest.raises(NonFinite, match=f"costs of space {space!r} hold NaN"):
        ot_fusion(table, weights, table, weights, costs={space: torch.full((1, 9, 1, 9), torch.nan)})
    broken = Weights.of({**dict(weights), "body.3.weight": torch.full((7, 9), torch.inf)})
    with pytest.raises(NonFinite, match=r"tensor 'body.3.weight' of the moving network holds NaN or Inf"):
        ot_fusion(table, broken, table, weights)
    with pytest.raises(NonFinite, match=r"tensor 'body.3.weight' of the reference network"):
        ot_fusion(table, weights, table, broken)
    with pytest.raises(BadParameter, match="rounds must be at least 1"):
        Transport(rounds=0)
    with pytest.raises(BadParameter, match="mass must be 'uniform', 'l1' or 'l2', found 'l3'"):
        Transport(mass="l3")  # type: ignore[arg-type]
    with pytest.raises(TooFewSets, match="at least 2 networks, got 1"):
        ot_align_all([(table, weights)])
    with pytest.raises(BadParameter, match="number of one of 2 networks, found 2"):
        ot_align_all([(table, weights)] * 2, reference=2)
    model = Mlp(9, 7)
    with pytest.raises(BadParameter, match="no batch"):
        activation_costs(Network(table, model), Network(table, model), [])
