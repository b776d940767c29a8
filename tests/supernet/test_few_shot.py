"""Gradient matching: planted conflicts are found and separated, and what is apart can be learned."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from loomweight.errors import BadParameter, UnknownName
from loomweight.search import Ordered, Space
from loomweight.supernet import Choice, Elastic, Matching, Regions, SubnetOptimizer, conflicts, elastic, few_shot
from loomweight.supernet.narrow import narrowed
from loomweight.supernet.sharing.conflict import min_cut


class Times(nn.Module):
    """Multiplies by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Flips(nn.Module):
    """A shared linear layer, then two lists of factors: how many of them are used decides about the sign of what the layer should be."""

    def __init__(self, first: list[float], second: list[float]) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 3)
        self.hidden = nn.Linear(3, 8)
        self.first = nn.ModuleList(map(Times, first))
        self.second = nn.ModuleList(map(Times, second))
        self.head = nn.Linear(8, 3)
        nn.init.ones_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(self.shared(x))
        for block in [*self.first, *self.second]:
            x = block(x)
        return self.head(x)


def flips(first: list[float], second: list[float]) -> Elastic:
    torch.manual_seed(0)
    space = {"depth": {"first": [*range(1, len(first) + 1)], "second": [*range(1, len(second) + 1)]}, "width": {"hidden": [4, 8]}}
    return elastic(Flips(first, second), space, torch.randn(2, 4))


def up(outputs: Tensor, _: Tensor) -> Tensor:
    return outputs.mean()


BATCHES = [(torch.ones(4, 4), torch.zeros(4)), (torch.ones(4, 4) * 2, torch.zeros(4))]


@pytest.mark.parametrize("measure", ["cosine", "filter"])
def test_planted_conflicts_are_found_and_parted(measure: str) -> None:
    net = flips([1, 1, -1, 1], [1, -1])
    found = {c.field: c for c in conflicts(net, BATCHES, up, Matching(draws=2, measure=measure))}  # type: ignore[arg-type]
    assert found["depth first"].groups == ((1, 2), (3, 4))
    assert found["depth second"].groups == ((1,), (2,))
    assert list(found)[-1] == "width hidden"  # slices of one weight want the same here
    assert found["depth first"].score > 5 * found["width hidden"].score


def test_an_odd_option_is_parted_alone() -> None:
    net = flips([1, -1, -1, 1, 1], [1])  # depth 2 is negative, all others are positive
    (first, *_) = conflicts(net, BATCHES, up, Matching(draws=2))
    assert first.field == "depth first"
    assert first.groups in (((1, 3, 4, 5), (2,)), ((2,), (1, 3, 4, 5)))


def test_operators_are_parted_by_what_they_do_to_the_layers_that_they_share() -> None:
    """The paper's setting: candidates have weights of their own, and disagree on those of the other layers."""
    torch.manual_seed(0)
    same, opposite = nn.Linear(3, 3), nn.Linear(3, 3)
    with torch.no_grad():
        same.weight.copy_(torch.eye(3))
        opposite.weight.copy_(-torch.eye(3))
    place = Choice({"skip": nn.Identity(), "minus": Times(-1.0), "same": same, "opposite": opposite})
    net = elastic(nn.Sequential(nn.Linear(4, 3), place), "operator 1 : skip minus same opposite", torch.randn(2, 4))
    (found,) = conflicts(net, BATCHES, up, Matching(draws=1))
    assert {frozenset(group) for group in found.groups} == {frozenset({"skip", "same"}), frozenset({"minus", "opposite"})}
    assert found.score == pytest.approx(2, abs=1e-5)  # cosines of float32
    split = few_shot(net, BATCHES, up, levels=1, matching=Matching(draws=1))
    assert len(split.spaces) == 2 and net.export({"operator 1": "minus"})(BATCHES[0][0]).shape == (4, 3)


def test_comparing_leaves_the_model_as_it_was() -> None:
    net = elastic(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), "width 0 : 2 8", torch.randn(2, 4))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.select(net.min())
    conflicts(net, [(torch.randn(4, 4), torch.zeros(4))], up)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.active == net.min() and all(p.grad is None for p in net.parameters())


def test_levels_split_and_regions_cover_the_space_once() -> None:
    net = flips([1, 1, -1, 1], [1, -1])
    split = few_shot(net, BATCHES, up, levels=2, matching=Matching(draws=2))
    assert len(split.spaces) == 4
    assert sum(space.count() for space in split.spaces) == net.space.count()
    for number, space in enumerate(split.spaces):
        assert {split.region(values) for values in space.enumerate()} == {number}
    signs = [{(values["depth first"] < 3) == (values["depth second"] < 2) for values in space.enumerate()} for space in split.spaces]
    assert all(len(of) == 1 for of in signs)  # within a region all configurations pull the shared layer the same way


def test_regions_of_what_does_not_always_matter() -> None:
    """A width of block 1 matters only at depth 2: at depth 1 the configuration is that of the last width, and in its region."""
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False)
    net = elastic(model, "depth layers : 1 2\nwidth layers.*.linear1 : 4 8 16", torch.randn(2, 3, 8))
    split = Regions(net)
    split.split(0, "width layers.1.linear1", [4])
    split.split(0, "depth layers", [1])
    split.split(1, "width layers.0.linear1", [4, 16])
    listed = [values for space in split.spaces for values in space.enumerate()]
    assert sorted(map(str, listed)) == sorted(map(str, net.space.enumerate()))
    for number, space in enumerate(split.spaces):
        assert {split.region(net.space.canonical(values)) for values in space.enumerate()} == {number}
    with pytest.raises(BadParameter, match=r"no configuration is left: 'width layers\.1\.linear1' matters only where 'depth layers' is 2"):
        narrowed(net.space, {"depth layers": [1], "width layers.1.linear1": [4]})


def test_what_is_apart_can_be_learned() -> None:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    y = x[:, :3]

    def train(net: Elastic, spaces: list[Space]) -> float:
        optimizer = SubnetOptimizer(net, torch.optim.Adam(net.parameters(), lr=0.02))
        for step in range(160):
            optimizer.zero_grad()
            nn.functional.mse_loss(net.select(spaces[step % len(spaces)].sample(step))(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            return max(nn.functional.mse_loss(net.select(values)(x), y).item() for values in net.space.enumerate())

    joint, apart = flips([1, -1], [1]), flips([1, -1], [1])
    for net in (joint, apart):
        nn.init.xavier_uniform_(net.state_dict()["head.weight"], generator=torch.Generator().manual_seed(2))
    split = Regions(apart)
    split.split(0, "depth first", [2])
    assert train(apart, split.spaces) < 0.25 * train(joint, [joint.space])


def test_regions_start_alike_and_part() -> None:
    net = flips([1, -1], [1])
    split = Regions(net)
    number = split.split(0, "depth first", [2])
    (a, b) = (split.copies.stored(i) for i in (0, number))
    assert all(torch.equal(a[name].tensor, b[name].tensor) and a[name].tensor is not b[name].tensor for name in a)
    optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=0.1))
    before = {name: one.tensor.detach().clone() for name, one in b.items()}
    up(net.select({**net.max(), "depth first": 1})(BATCHES[0][0]), BATCHES[0][1]).backward()
    optimizer.step()
    assert all(torch.equal(one.tensor, before[name]) for name, one in b.items())
    assert not torch.equal(a["shared.weight"].tensor, b["shared.weight"].tensor)


def test_exports_are_plain_and_of_their_region() -> None:
    net = flips([1, -1], [1])
    split = Regions(net, shared=["hidden"])
    number = split.split(0, "depth first", [2])
    with torch.no_grad():
        split.copies.stored(number)["shared.bias"].tensor.fill_(7.0)
    of = [net.export({**net.max(), "depth first": depth}).state_dict() for depth in (1, 2)]
    assert (of[1]["shared.bias"] == 7).all() and not (of[0]["shared.bias"] == 7).any()
    assert set(of[1]) == set(Flips([1, -1], [1]).state_dict())
    assert not [name for name in net.state_dict() if name.startswith("copies") and "hidden" in name]


def test_an_old_optimizer_is_told_of_a_split() -> None:
    net = flips([1, -1], [1])
    optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=0.1))
    Regions(net).split(0, "depth first", [2])
    with pytest.raises(BadParameter, match="has taken in parameters since this optimizer was made; make a new one"):
        optimizer.step()


def test_a_split_is_resumed() -> None:
    net = flips([1, 1, -1], [1, -1])
    split = few_shot(net, BATCHES, up, levels=2, matching=Matching(draws=1))
    with torch.no_grad():
        for i, one in enumerate(net.stored().values()):
            one.tensor.fill_(i)
    again = flips([1, 1, -1], [1, -1])
    twin = Regions.resumed(again, split.state_dict())
    again.load_state_dict(net.state_dict())
    for values in net.space.enumerate():
        assert split.region(values) == twin.region(values)
        assert torch.equal(net.select(values)(BATCHES[0][0]), again.select(values)(BATCHES[0][0]))


def test_messages() -> None:
    net = flips([1, -1], [1])
    split = Regions(net)
    with pytest.raises(UnknownName, match="depth fist"):
        split.split(0, "depth fist", [2])
    with pytest.raises(BadParameter, match=r"allowed: 1, 2"):
        split.split(0, "depth first", [3])
    with pytest.raises(BadParameter, match="all options of 'depth first' would move"):
        split.split(0, "depth first", [1, 2])
    with pytest.raises(BadParameter, match="have copies already"):
        Regions(net)
    with pytest.raises(UnknownName, match="'nothing' names no tensor to share"):
        Regions(flips([1, -1], [1]), shared=["nothing"])
    with pytest.raises(BadParameter, match="no parameter is left that is not shared"):
        Regions(flips([1, -1], [1]), shared=["*"])
    with pytest.raises(BadParameter, match="no batch to compare gradients on"):
        conflicts(net, [], up)


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_the_cut_is_the_smallest_of_all(n: int, seed: int) -> None:
    raw = np.random.default_rng(seed).random((n, n))
    distances = np.triu(raw, 1) + np.triu(raw, 1).T
    chosen = min_cut(distances)
    inside = [sum(distances[i, j] for i in range(n) for j in range(i) if (mask >> i & 1) == (mask >> j & 1)) for mask in range(1, 2**n - 1)]
    mine = sum(distances[i, j] for i in range(n) for j in range(i) if (i in chosen) == (j in chosen))
    assert mine == pytest.approx(min(inside)) and 0 in chosen and len(chosen) < n


def test_narrowing_keeps_order_and_dependence() -> None:
    whole = Space({"depth": Ordered((1, 2, 3)), "w": Ordered((8, 16, 32))}, depends={"w": ("depth", (3,))})
    assert narrowed(whole, {"w": [32, 8]}).dimensions["w"] == Ordered((8, 32))
    assert all(a != b for a, b in pairwise(narrowed(whole, {"depth": [1, 2]}).enumerate()))
    assert narrowed(whole, {"depth": [1, 2]}).count() == 2
