"""Recurrent policies: copies come back exactly, policies trained apart average far better than without orders, and soft orders are what they say."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from loomweight.align import Annealing, fleet_merge, fleet_rounds, loaded
from loomweight.align.soft import inner, pulls, sinkhorn
from loomweight.edits import Permute
from loomweight.errors import BadParameter, IntegersDiffer, ShapesDiffer
from loomweight.weights import Weights, from_module
from loomweight.weights.axes import Axes, axes, random_orders, table_for

from .digits import accuracy, digits, seeded, trained


class Policy(nn.Module):
    """Reads an image row by row."""

    def __init__(self, kind: str, hidden: int, layers: int = 1) -> None:
        super().__init__()
        self.inward = nn.Linear(8, hidden)
        self.memory = getattr(nn, kind)(hidden, hidden, layers, batch_first=True)
        self.outward = nn.Linear(hidden, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.outward(self.memory(self.inward(images[:, 0]).tanh())[0][:, -1])


class Reader(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.memory = nn.GRU(8, hidden, batch_first=True)
        self.outward = nn.Linear(hidden, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.outward(self.memory(images[:, 0])[0][:, -1])


def wide(weights: Weights) -> dict[str, Tensor]:
    return {name: tensor.double() for name, tensor in weights.items()}


@cache
def scene(kind: str, *sizes: int) -> tuple[Axes, Weights]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Policy(kind, *sizes)
    return axes(model, digits()[0][:2]), from_module(model)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_permuted_copies_merge_back_exactly(kind: str) -> None:
    table, weights = scene(kind, 12)
    copies = [Permute.by(table, random_orders(table, seed))(weights) for seed in (1, 2, 3)]
    found = fleet_merge(table, [weights, *copies])
    for edit, copy in zip(found.edits, [weights, *copies], strict=True):
        assert all(torch.equal(edit(copy)[name], weights[name]) for name in weights.names)
    for name in weights.names:
        torch.testing.assert_close(found.weights[name], weights[name])


@settings(max_examples=4)
@given(seed=st.integers(0, 10**6), share=st.floats(0.1, 5))
def test_shares_count_and_orders_do_not_matter(seed: int, share: float) -> None:
    table, weights = scene("RNN", 7)
    other = weights * 3
    moved = Permute.by(table, random_orders(table, seed))(other)
    merged = fleet_merge(table, [weights, moved], shares=[1, share]).weights
    for name in weights.names:
        torch.testing.assert_close(merged[name], weights[name] * ((1 + 3 * share) / (1 + share)))


def test_both_sides_of_a_recurrent_weight_move() -> None:
    """The pull on P of <R, P W P^T> is R P W^T + R^T P W."""
    model = nn.Sequential(nn.RNN(1, 4, bias=False, batch_first=True))
    named = Weights.of({name: tensor.detach() for name, tensor in model.state_dict().items()})
    table = table_for("0.weight_ih_l0 : h <- 1\n0.weight_hh_l0 : h <- h", named)
    other = named * 0.7 + Weights.of({name: torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)) for name, tensor in named.items()})
    soft = torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    r, w, column, inward = (x.double() for x in (other["0.weight_hh_l0"], named["0.weight_hh_l0"], other["0.weight_ih_l0"], named["0.weight_ih_l0"]))
    wanted = r @ soft @ w.T + r.T @ soft @ w + column @ inward.T
    torch.testing.assert_close(pulls(table, wide(named), wide(other), {"h": soft})["h"], wanted)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_the_pull_is_the_derivative_and_hard_orders_are_permutations(kind: str) -> None:
    table, weights = scene(kind, 6, 2)
    other = Permute.by(table, random_orders(table, 5))(weights) * 0.3 + weights
    orders = random_orders(table, 2)
    hard = {name: torch.eye(len(order), dtype=torch.float64)[order] for name, order in orders.items()}
    moved = Permute.by(table, orders)(weights)
    pull = pulls(table, wide(weights), wide(other), hard)
    # each tensor is of degree 1 or 2 in the orders, so the sum of <P, pull> counts each of its axes once (Euler)
    degrees = {name: sum(factor in table.spaces for axis in table.layouts[name].axes for term in axis for factor in term) for name in weights.names}
    wanted = sum(degrees[name] * float((moved[name].double() * other[name].double()).sum()) for name in weights.names)
    assert sum(float((hard[name] * pull[name]).sum()) for name in hard) == pytest.approx(wanted, rel=1e-6)


class Joined(nn.Module):
    """A flattened convolution beside a linear layer, in one concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.line, self.head = nn.Conv2d(1, 3, 3), nn.Linear(16, 5), nn.Linear(17, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.conv(x).relu().flatten(1), self.line(x.flatten(1)).relu()], 1))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=5)
def test_the_pull_on_one_space_is_what_another_order_of_it_gains(seed: int) -> None:
    """No tensor has a space twice here, so the inner product is linear in each order: another order gains <other - order, pull>."""
    model = seeded(3, Joined)
    table, weights = axes(model, torch.zeros(1, 1, 4, 4)), from_module(model)
    assert sorted(space.size for space in table.spaces.values()) == [3, 5]
    other = Permute.by(table, random_orders(table, 5))(weights) * 0.3 + weights
    now, new = random_orders(table, seed), random_orders(table, seed + 1)
    hard = [{name: torch.eye(len(order), dtype=torch.float64)[order] for name, order in orders.items()} for orders in (now, new)]
    pull = pulls(table, wide(weights), wide(other), hard[0])
    for space in table.spaces:
        gained = inner(Permute.by(table, now | {space: new[space]})(weights), other) - inner(Permute.by(table, now)(weights), other)
        assert float(((hard[1][space] - hard[0][space]) * pull[space]).sum()) == pytest.approx(gained, abs=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), spread=st.floats(0.1, 2000), rounds=st.integers(1, 60))
def test_sinkhorn_by_logarithms_alone(seed: int, spread: float, rounds: int) -> None:
    """The same rounds, in logarithms from beginning to end; spreads of 2000 leave the range of exponentials."""
    pull = spread * torch.randn(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    logs = pull
    for _ in range(rounds):
        logs = logs - logs.logsumexp(1, keepdim=True)
        logs = logs - logs.logsumexp(0, keepdim=True)
    torch.testing.assert_close(sinkhorn(pull, 1.0, rounds), logs.exp(), rtol=1e-6, atol=1e-7)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.3, 10))
def test_sinkhorn_is_doubly_stochastic_and_hardens(seed: int, temperature: float) -> None:
    pull = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    soft = sinkhorn(pull, temperature, 400)
    torch.testing.assert_close(soft.sum(0), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(soft.sum(1), torch.ones(6, dtype=torch.float64), rtol=1e-3, atol=1e-3)
    assert sinkhorn(pull, temperature / 4, 400).square().sum() > soft.square().sum()


@cache
def policies() -> tuple[Axes, nn.Module, tuple[Weights, ...]]:
    """Four, each trained from a start of its own on a quarter of the digits."""
    images, labels, _, _ = digits()
    models = [trained(seeded(k, Reader, 48), images[k::4], labels[k::4], seed=k, epochs=20, rate=5e-3) for k in range(4)]
    return axes(models[0], images[:2]), models[0], tuple(map(from_module, models))


def score(weights: Weights) -> float:
    return accuracy(loaded(policies()[1], weights), *digits()[2:])


def average(sets: tuple[Weights, ...]) -> Weights:
    total = sets[0]
    for other in sets[1:]:
        total = total + other
    return total * (1 / len(sets))


def test_policies_trained_apart_average_far_better_in_one_order() -> None:
    table, _, trained_apart = policies()
    merged = fleet_merge(table, trained_apart)
    assert score(merged.weights) > score(average(trained_apart)) + 0.25
    together = sum(inner(a(x), b(y)) for a, x in zip(merged.edits, trained_apart, strict=True) for b, y in zip(merged.edits, trained_apart, strict=True))
    before = sum(inner(x, y) for x in trained_apart for y in trained_apart)
    assert together > before


def test_rounds_bring_the_average_to_its_parts() -> None:
    table, model, trained_apart = policies()
    images, labels, _, _ = digits()
    calls: list[int] = []

    def train(weights: Weights, k: int) -> Weights:
        calls.append(k)
        return from_module(trained(loaded(model, weights), images[k::4], labels[k::4], seed=k, epochs=2))

    two = tuple(trained_apart[:2])
    once = fleet_rounds(table, two, train, rounds=1)
    assert not calls
    thrice = fleet_rounds(table, two, train, rounds=3)
    assert calls == [0, 1, 0, 1]
    assert score(thrice.weights) > score(once.weights)
    assert score(thrice.weights) > max(map(score, two)) - 0.03


def test_bad_input() -> None:
    table, weights = scene("RNN", 4)
    with pytest.raises(BadParameter, match="a positive share for each; found 0 policies"):
        fleet_merge(table, [])
    with pytest.raises(BadParameter, match="a positive share for each"):
        fleet_merge(table, [weights, weights], shares=[1])
    with pytest.raises(BadParameter, match="once at least, found rounds = 0"):
        fleet_rounds(table, [weights], lambda merged, k: merged, rounds=0)
    with pytest.raises(BadParameter, match="cooling lies between"):
        Annealing(cooling=2)
    with pytest.raises(ShapesDiffer):
        fleet_merge(table, [weights, scene("RNN", 5)[1]])
    heads = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    nested = axes(heads, torch.zeros(1, 3, 8))
    with pytest.raises(BadParameter, match="lie inside others"):
        fleet_merge(nested, [from_module(heads)] * 2)
    norm = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).eval()
    first = from_module(norm)
    second = Weights.of({**dict(first), "1.num_batches_tracked": torch.tensor(7)})
    with pytest.raises(IntegersDiffer, match=r"'1\.num_batches_tracked' differs"):
        fleet_merge(axes(norm, torch.zeros(1, 2)), [first, second]).weights["1.num_batches_tracked"]


def test_policies_are_left_as_they_are_and_one_is_itself() -> None:
    table, weights = scene("GRU", 5)
    before = {name: tensor.clone() for name, tensor in weights.items()}
    fleet_merge(table, [weights, weights])
    assert all(torch.equal(fleet_merge(table, [weights]).weights[name], tensor) for name, tensor in before.items())
    assert all(torch.equal(weights[name], tensor) for name, tensor in before.items())
