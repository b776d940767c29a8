"""FLoRA: stacked factors beside dense sums, and beside the mean of factors, which is wrong."""

from pathlib import Path

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, UnknownName
from loomweight.federate import Book, FLoRA, Local, Reply, Server, Strategy, World, flora, simulate
from loomweight.federate.trainer import Trainer
from tests.federate.small import clients, same, whole_batch

from .adapted import adapted

NAMES = ("base_layer.weight", "lora_A.default.weight", "lora_B.default.weight")


def test_values_by_hand() -> None:
    """Ranks 1 and 2 with 3 examples and 1: W = 2 (3/4 b a + 1/4 B A), where every factor begins at what was sent down."""
    weights = dict(zip(NAMES, (torch.zeros(2, 2), torch.zeros(1, 2), torch.zeros(2, 1)), strict=True))
    server = Server(weights, Strategy(aggregate=FLoRA({"bob": 2})), ["ann", "bob"])
    tasks = {task.client: task.weights for task in server.tasks()}
    assert tasks["bob"][NAMES[1]].shape == (2, 2) and not tasks["bob"][NAMES[2]].any()
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0], [4.0]])
    many, up = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[8.0, 0.0], [0.0, 4.0]])
    server.push(Reply("ann", 0, {NAMES[1]: a - tasks["ann"][NAMES[1]], NAMES[2]: b}, 3.0))
    server.push(Reply("bob", 0, {NAMES[1]: many - tasks["bob"][NAMES[1]], NAMES[2]: up}, 1.0))
    server.close()
    # 1.5 [[1, 2], [4, 8]] + 0.5 [[8, 0], [0, 4]]; the new A is added and taken off again, which costs a rounding
    assert torch.allclose(server.weights[NAMES[0]], torch.tensor([[5.5, 3.0], [6.0, 14.0]]), atol=1e-5)
    again = {task.client: task.weights for task in server.tasks()}
    assert not same(again["bob"], tasks["bob"]) and not again["ann"][NAMES[2]].any()  # new adapters each round


def ranks() -> dict[str, int]:
    return {"c0": 1, "c1": 2, "c2": 4}


def world() -> World:
    return World(models={client: adapted(rank) for client, rank in ranks().items()})


def strategy(**options: object) -> Strategy:
    return flora(Strategy(local=Local(steps=3, batch=8)), adapted(2), ranks(), **options)


def trained(client: str, server: Server, rank: int) -> nn.Module:
    """The client's model after its local training."""
    task = next(task for task in server.tasks() if task.client == client)
    trainer = Trainer(adapted(rank), strategy())
    trainer(clients()[client], task, {})
    return trainer.model


def whole(layer: nn.Module) -> torch.Tensor:
    """W + 2 B A in float64."""
    return layer.base_layer.weight.double() + 2 * layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()


def test_the_base_is_the_dense_sum_and_the_mean_of_factors_is_not() -> None:
    """The paper's claim, with a second formula: the model of every client, made dense, and their mean."""
    found = simulate(adapted(2), clients(), strategy(), rounds=1, world=world())
    one = strategy()
    models = {client: trained(client, Server(adapted(2).state_dict(keep_vars=True), one, ["c0", "c1", "c2"]), rank) for client, rank in ranks().items()}
    counts = {client: len(data[0]) / sum(len(data[0]) for data in clients().values()) for client, data in clients().items()}
    for layer in (0, 2):
        dense = sum(counts[client] * whole(net[layer]) for client, net in models.items())
        exact = found.weights[f"{layer}.base_layer.weight"].double() - dense
        assert exact.abs().max() < 2e-6  # float32: the sum of seven products, and one rounding of A on its way
    equal = flora(Strategy(local=Local(steps=3, batch=8)), adapted(2))
    alike = [trained(client, Server(adapted(2).state_dict(keep_vars=True), equal, list(ranks())), 2)[0] for client in ranks()]
    down, up = (torch.stack([getattr(layer, f"lora_{x}")["default"].weight for layer in alike]) for x in "AB")
    naive, true = up.mean(0) @ down.mean(0), (up @ down).mean(0)
    assert (naive - true).norm() > 0.1 * true.norm()


def test_factors_alone_go_up_and_the_state_is_resumed(tmp_path: Path) -> None:
    one = strategy()
    found = simulate(adapted(2), clients(), one, rounds=4, world=world())
    assert found.history[0]["bytes_up"] == 4 * sum(rank * (4 + 6 + 6 + 2) for rank in ranks().values())
    assert [line["pooled"] for line in found.history] == [3] * 4 and found.history[-1]["loss"] < found.history[0]["loss"]
    assert not found.weights["0.lora_B.default.weight"].any()  # the base is the model
    simulate(adapted(2), clients(), one, rounds=2, world=world(), folder=tmp_path)
    again = simulate(adapted(2), clients(), one, rounds=4, world=world(), folder=tmp_path)
    assert same(found.weights, again.weights) and found.history == again.history


def test_a_reply_of_another_rank_or_without_a_factor_is_refused() -> None:
    weights = dict(zip(NAMES, (torch.zeros(2, 2), torch.zeros(1, 2), torch.zeros(2, 1)), strict=True))
    server = Server(weights, Strategy(aggregate=FLoRA({"bob": 2})), ["ann", "bob"])
    server.tasks()
    wide = server.push(Reply("ann", 0, {NAMES[1]: torch.zeros(2, 2), NAMES[2]: torch.zeros(2, 2)}))
    assert wide and wide.code == "shape" and "[2, 2] instead of [1, 2]" in wide.words
    lacking = server.push(Reply("bob", 0, {NAMES[1]: torch.zeros(2, 2)}))
    assert lacking and lacking.words == "it lacks 'lora_B.default.weight'"


def test_convolutions_transposed_bases_and_heads() -> None:
    weights = dict(zip(NAMES, (torch.zeros(3, 2, 3, 3), torch.zeros(1, 2, 3, 3), torch.zeros(3, 1, 1, 1)), strict=True))
    aggregate = FLoRA(scale=1.0)
    state = aggregate.start(weights)
    update = {NAMES[1]: torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0)), NAMES[2]: torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1)}
    moved, state = aggregate.pool(weights, {"replies": [Reply("a", 0, update)]}, state, Book(0, ("a",)))
    kernel = aggregate.down(weights, {"round": 0}, "a")[NAMES[1]] + update[NAMES[1]]
    assert torch.allclose(moved[NAMES[0]], torch.einsum("o,ihw->oihw", torch.tensor([1.0, 2.0, 3.0]), kernel[0])) and state == {"round": 1}
    flat = dict(zip(NAMES, (torch.zeros(4, 3), torch.zeros(1, 4), torch.zeros(3, 1)), strict=True))
    change = {NAMES[1]: torch.ones(1, 4), NAMES[2]: torch.ones(3, 1)}
    moved, _ = FLoRA(transposed=True).pool(flat, {"replies": [Reply("a", 0, change)]}, {"round": 0}, Book(0, ("a",)))
    assert moved[NAMES[0]].shape == (4, 3)
    net = nn.Sequential(adapted(2), nn.Linear(2, 2))
    found = simulate(net, clients(), flora(Strategy(local=whole_batch()), net), rounds=1)
    assert not torch.equal(found.weights["1.weight"], net.state_dict()["1.weight"])  # a head is averaged


def test_words_for_what_does_not_fit() -> None:
    with pytest.raises(BadParameter, match="at least 1"):
        FLoRA({"a": 0})
    with pytest.raises(BadParameter, match="missing: all of them"):
        FLoRA().start({"w": torch.zeros(1)})
    with pytest.raises(BadParameter, match="should be zero at the start"):
        FLoRA().start(dict(zip(NAMES, (torch.zeros(2, 2), torch.zeros(1, 2), torch.ones(2, 1)), strict=True)))
    with pytest.raises(UnknownName, match="no layer with lora_A"):
        flora(Strategy(), nn.Linear(2, 2))


def test_peft_s_own_merge_says_the_same() -> None:
    """A real PEFT model: the server's base is the mean of the bases into which PEFT merges the clients' adapters."""
    from peft import LoraConfig, get_peft_model

    def net(rank: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            base = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
            return get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["0", "2"]))

    one = flora(Strategy(local=Local(steps=3, batch=8)), net(2), {"c1": 3})
    data = {client: clients()[client] for client in ("c0", "c1")}
    found = simulate(net(2), data, one, rounds=1, world=World(models={"c1": net(3)}))
    merged = []
    for client, rank in (("c0", 2), ("c1", 3)):
        task = next(task for task in Server(net(2).state_dict(keep_vars=True), one, list(data)).tasks() if task.client == client)
        trainer = Trainer(net(rank), one)
        trainer(data[client], task, {})
        merged.append(len(data[client][0]) / 25 * trainer.model.merge_and_unload()[0].weight.double())
    assert torch.allclose(found.weights["base_model.model.0.base_layer.weight"].double(), sum(merged), atol=1e-6)  # float32 on both sides
