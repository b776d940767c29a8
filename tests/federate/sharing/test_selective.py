"""Selective layers: who trains what, by hand; what budgets cost; what agreement does."""

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter
from loomweight.federate import SelectLayers, Strategy, Task, selective, simulate
from loomweight.federate.trainer import Trainer
from tests.federate.small import clients, same, whole_batch


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))


def test_the_mask_is_the_best_of_all_masks() -> None:
    """Beside a search over every mask of the budget, for the objective as it is written."""
    generator = torch.Generator().manual_seed(0)
    for agree in (0.0, 0.3, 5.0):
        norms, others = torch.rand(5, generator=generator) + 0.1, torch.randint(2, (3, 5), generator=generator).float()
        found = SelectLayers(2, agree).chosen(norms, others.mean(0), 2).float()
        masks = [torch.tensor(bits, dtype=torch.float32) for bits in product((0, 1), repeat=5) if sum(bits) == 2]
        worth = [float(mask @ norms - agree * (mask - others).abs().sum(1).mean()) for mask in masks]
        assert torch.equal(found, masks[worth.index(max(worth))])


def test_only_what_was_chosen_is_trained_and_sent(tmp_path: Path) -> None:
    strategy = selective(Strategy(local=whole_batch()), budget=1)
    found = simulate(network(), clients(), strategy, rounds=1)
    start = network().state_dict()
    best = []
    for inputs, targets in clients().values():
        net = network()
        torch.nn.functional.cross_entropy(net(inputs), targets).backward()
        best.append(max(("0", "2", "4"), key=lambda layer: sum(float(t.grad.square().sum()) for t in net[int(layer)].parameters())))
    moved = {name.split(".")[0] for name in start if not torch.equal(start[name], found.weights[name])}
    sizes = {"0": 30, "2": 42, "4": 14}
    assert moved == set(best) and len(moved) > 1
    assert found.history[0]["bytes_up"] == sum(4 * sizes[layer] + 3 for layer in best)  # three bytes are the mask
    each = simulate(network(), clients(), selective(Strategy(local=whole_batch()), {"c0": 1, "c1": 2, "c2": 3}), rounds=1)
    assert each.history[0]["bytes_up"] > found.history[0]["bytes_up"]
    simulate(network(), clients(), strategy, rounds=2, folder=tmp_path)
    again, straight = simulate(network(), clients(), strategy, rounds=4, folder=tmp_path), simulate(network(), clients(), strategy, rounds=4)
    assert same(again.weights, straight.weights) and again.history == straight.history


def test_all_layers_are_averaging_and_one_at_a_time_learns_too() -> None:
    """The paper's claim: layers by the size of their gradients learn at a part of the cost, better than a layer that was fixed beforehand."""
    data, local = clients(4, 40), whole_batch(0.3, steps=3)
    plain = simulate(network(), data, Strategy(local=local), rounds=10)
    whole, one = (simulate(network(), data, selective(Strategy(local=local), budget), rounds=10) for budget in (3, 1))
    for name, tensor in plain.weights.items():
        assert torch.allclose(whole.weights[name], tensor, atol=1e-6)  # the same sums
    first = simulate(network(), data, Strategy(local=local, tensors={"0.*": "pool", "*": "keep"}), rounds=10)
    assert one.history[-1]["loss"] < first.history[-1]["loss"] and one.history[-1]["loss"] < 0.6 * one.history[0]["loss"]
    assert sum(line["bytes_up"] for line in one.history) < 0.6 * sum(line["bytes_up"] for line in whole.history)


def test_agreement_brings_masks_together() -> None:
    norms = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [1.0, 0.8, 0.1]])
    first = torch.stack([SelectLayers(1).chosen(row, torch.zeros(3), 1) for row in norms])
    alone, together = (torch.stack([SelectLayers(1, agree).chosen(row, first.float().mean(0), 1) for row in norms]) for agree in (0.0, 1.0))
    assert torch.equal(alone, first) and len(alone.unique(dim=0)) == 2
    assert len(together.unique(dim=0)) == 1 and together[0].tolist() == [True, False, False]


def test_words_for_budgets_that_are_none() -> None:
    with pytest.raises(BadParameter, match="at least 1"):
        SelectLayers(0)
    trainer = Trainer(network(), selective(Strategy(), {"c0": 1}))
    with pytest.raises(BadParameter, match="no budget is given for client 'c1'"):
        trainer(clients()["c1"], Task("c1", 0, trainer.travelling(), {"SelectLayers": {"chosen": torch.zeros(3)}}), {})
