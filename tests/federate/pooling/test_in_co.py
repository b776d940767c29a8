"""InCo: values by hand, clients of two depths, and what deep layers gain."""

from functools import partial

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter
from loomweight.federate import InCo, Local, Pool, Reply, Strategy, World, simulate
from tests.federate.small import clients, same

from .served import pooled


def test_values_by_hand() -> None:
    """|g_d| = 2, |g_s| = 5, <,> = 6, so c = 6 / 25: ((1, 0) + 0.24 (0.6, 0.8)) * 3.5."""
    found = InCo().cross(torch.tensor([2.0, 0.0]), torch.tensor([3.0, 4.0]))
    assert found.tolist() == pytest.approx([(1 + 0.24 * 0.6) * 3.5, 0.24 * 0.8 * 3.5])
    # a short shallow update would have c = 100, which is cut to 5
    assert InCo().cross(torch.tensor([1.0]), torch.tensor([0.01])).item() == pytest.approx(6 * 1.01 / 2)
    assert InCo(clip=0.1).cross(torch.tensor([2.0, 0.0]), torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.1, 0.1])
    opposite = InCo().cross(torch.tensor([1.0]), torch.tensor([-1.0]))
    assert opposite.item() == 0.0  # (1 - 1) * 1: the size of the inner product counts, as in the paper
    assert InCo().cross(torch.zeros(2), torch.ones(2)).tolist() == [0.0, 0.0]


def test_each_tensor_is_averaged_over_those_that_have_it() -> None:
    replies = {
        "a": Reply("a", 0, {"low": torch.tensor([1.0])}, 3.0),
        "b": Reply("b", 0, {"low": torch.tensor([5.0]), "high": torch.tensor([7.0])}, 1.0),
    }
    weights = {"low": torch.zeros(1), "high": torch.zeros(1), "none": torch.ones(1)}
    alike = pooled(InCo(has={"a": ["low"], "b": ["low", "high"]}), weights, [replies])
    assert {name: tensor.item() for name, tensor in alike.weights.items()} == {"low": 3.0, "high": 7.0, "none": 1.0}
    counted = pooled(InCo(has={"a": ["low"]}, counts=True), weights, [replies])
    assert counted.weights["low"].item() == 2.0 and counted.weights["high"].item() == 7.0
    assert set(alike.tasks()[0].weights) == {"low"}


class Deep(nn.Module):
    """Blocks of one shape with a shortcut each, of which shallow clients have the first."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.into, self.out = nn.Linear(4, 6), nn.Linear(6, 2)
            self.blocks = nn.ModuleList([nn.Linear(6, 6) for _ in range(depth)])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = self.into(inputs)
        for block in self.blocks:
            inputs = inputs + block(inputs).relu()
        return self.out(inputs)


def strategy(**options: object) -> Strategy:
    has = {f"c{i}": list(Deep(1).state_dict()) for i in range(3)}
    return Strategy(aggregate=InCo(has=has, **options), local=Local(steps=2, batch=100, optimizer=partial(torch.optim.SGD, lr=0.2)))


WORLD = World(models={f"c{i}": Deep(1) for i in range(3)})
MIX = {"blocks.1.weight": "blocks.0.weight", "blocks.1.bias": "blocks.0.bias"}


def test_clients_of_two_depths_learn_one_model() -> None:
    data = clients(5)
    found = simulate(Deep(2), data, strategy(mix=MIX), 8, world=WORLD)
    inputs, targets = (torch.cat([part[i] for part in data.values()]) for i in (0, 1))
    assert found.history[0]["pooled"] == 5 and (found.model(inputs).argmax(1) == targets).double().mean() > 0.85
    plain, mean = (simulate(Deep(2), clients(2), Strategy(aggregate=aggregate), 2).weights for aggregate in (InCo(counts=True), Pool()))
    assert same(plain, mean)


def test_deep_layers_become_more_like_the_shallow_ones_and_nothing_else_changes_in_the_round() -> None:
    """The paper's aim: cross-layer gradients raise the similarity of the deep updates to those that all clients share."""
    data = clients(5)
    start = Deep(2).state_dict()
    without, mixed = (simulate(Deep(2), data, strategy(mix=mix), 1, world=WORLD).weights for mix in ({}, MIX))

    def likeness(weights: dict[str, torch.Tensor]) -> float:
        deep, shallow = (weights[f"blocks.{i}.weight"] - start[f"blocks.{i}.weight"] for i in (1, 0))
        return abs(torch.cosine_similarity(deep.flatten(), shallow.flatten(), dim=0).item())

    others = [name for name in start if name not in MIX]
    assert likeness(mixed) > 1.2 * likeness(without)
    assert same({name: without[name] for name in others}, {name: mixed[name] for name in others})


def test_the_mixture_keeps_to_the_plane_of_the_two_and_does_not_turn_deep_updates_back() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        deep, shallow = torch.randn(2, 10, generator=generator, dtype=torch.float64)
        mixed = InCo().cross(deep, shallow)
        basis = torch.stack([deep, shallow])
        left = mixed - torch.linalg.lstsq(basis.T, mixed[:, None]).solution[:, 0] @ basis
        assert left.norm() < 1e-9 * mixed.norm()  # float64
        if deep @ shallow > 0:
            assert mixed @ deep > 0


def test_words_for_what_does_not_fit() -> None:
    with pytest.raises(BadParameter, match=r"'high' and 'low'.*one shape"):
        InCo(mix={"high": "low"}).start({"low": torch.zeros(2), "high": torch.zeros(3)})
    with pytest.raises(BadParameter, match="'a'"):
        InCo(has={"a": []})
