"""Sparse adapters, up and down."""

from pathlib import Path

import pytest
import torch

from loomweight.errors import BadParameter, UnknownName
from loomweight.federate import QSGD, Attack, Down, Half, Only, Pool, Reply, Server, Strategy, TopK, World, cellm, simulate
from loomweight.federate.plain import Task
from loomweight.federate.trainer import Trainer
from tests.federate.small import clients, model, same, whole_batch

from .adapted import adapted


def test_what_goes_down_is_the_largest_part_and_the_server_s_own_weights_stay() -> None:
    weights = {"w": torch.tensor([4.0, -1.0, 0.5, 3.0])}
    server = Server(weights, Strategy(message=(Down(TopK(0.5)),)), ["ann"])
    (task,) = server.tasks()
    assert {name: tensor.tolist() for name, tensor in task.weights.items()} == {"w:values": [4.0, 3.0], "w:indices": [0, 3]}
    server.push(Reply("ann", 0, {"w": torch.ones(4)}))
    line = server.close()
    assert line["bytes_down"] == 2 * (4 + 4) and server.weights["w"].tolist() == [5.0, 0.0, 1.5, 4.0]


def test_a_client_begins_with_zeros_and_sends_what_it_changed_of_them() -> None:
    strategy = Strategy(message=(Down(TopK(0.25)),), local=whole_batch(0.5))
    sparse = Server(model().state_dict(), strategy, ["c0"]).tasks()[0]
    opened = Down(TopK(0.25)).open_down(sparse.weights, model().state_dict(), "c0")
    assert int((opened["weight"] != 0).sum()) == 2 and int((opened["bias"] != 0).sum()) == 1
    packed, _ = Trainer(model(), strategy)(clients()["c0"], sparse, {})
    dense, _ = Trainer(model(), Strategy(local=whole_batch(0.5)))(clients()["c0"], Task("c0", 0, opened, seed=sparse.seed), {})
    assert same(packed.update, dense.update)


def test_a_tenth_of_the_bytes_learns_nearly_as_well(tmp_path: Path) -> None:
    """The paper's claim, on four clients: less traffic both ways for nearly the loss of dense adapters."""
    data = clients(4, examples=40)
    local = whole_batch(0.3, steps=4)
    dense = simulate(adapted(4), data, cellm(Strategy(local=local), adapted(4), 1.0, 1.0), rounds=12)
    strategy = cellm(Strategy(local=local), adapted(4), up=0.1, down=0.25)
    sparse = simulate(adapted(4), data, strategy, rounds=12)
    assert sparse.history[0]["bytes_up"] < 0.13 * dense.history[0]["bytes_up"] and sparse.history[0]["bytes_down"] < 0.3 * dense.history[0]["bytes_down"]
    gained = [found.history[0]["loss"] - found.history[-1]["loss"] for found in (dense, sparse)]
    assert gained[1] > 0.6 * gained[0] > 0
    simulate(adapted(4), data, strategy, rounds=5, folder=tmp_path)
    again = simulate(adapted(4), data, strategy, rounds=12, folder=tmp_path)
    assert same(again.weights, sparse.weights) and again.history == sparse.history


def test_an_attacker_gets_and_sends_packed_tensors_too() -> None:
    class Zero(Attack):
        def forge(self, own, honest, draw):
            from dataclasses import replace

            return replace(own, update={name: 0 * tensor for name, tensor in own.update.items()})

    strategy = Strategy(message=(TopK(0.5), Down(TopK(0.5))), aggregate=Pool(), local=whole_batch())
    found = simulate(model(), clients(), strategy, rounds=2, world=World(attackers={"c1": Zero()}))
    assert [line["pooled"] for line in found.history] == [3, 3]
    assert found.history[1]["bytes_up"] == found.history[1]["bytes_down"] == 3 * (4 + 1) * 8


def test_half_goes_down_and_only_some_go_up() -> None:
    server = Server({"a": torch.ones(2), "b": torch.ones(2)}, Strategy(message=(Only(["a"]), Down(Half()))), ["ann"])
    assert {tensor.element_size() for tensor in server.tasks()[0].weights.values()} == {2}
    assert server.push(Reply("ann", 0, {"a": torch.ones(2)})) is None
    server.close()
    assert server.weights["a"].tolist() == [2.0, 2.0] and server.weights["b"].tolist() == [1.0, 1.0]


def test_words_for_what_does_not_fit() -> None:
    with pytest.raises(BadParameter, match="expected TopK or Half"):
        Down(QSGD(4))
    with pytest.raises(UnknownName, match=r"\*lora_\*"):
        cellm(Strategy(), model())
