"""A byte a round, at a server."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from loomweight.errors import BadParameter
from loomweight.federate import OneByteStep, Reply, Server, Strategy, byte_each, simulate
from loomweight.federate.lowcomm.one_byte import applied, direction, encoded
from tests.federate.small import clients, model, same


def test_a_round_is_the_arithmetic_of_one_byte() -> None:
    """By hand: losses of the model moved either way along each client's own direction, and the steps along them."""
    data = clients()
    found = simulate(model(), data, byte_each(Strategy(), model(), lr=0.05, epsilon=0.01, seed=4), rounds=1)
    sent = []
    for client, (inputs, targets) in data.items():
        losses = []
        for side in (1, -1):
            net = model()
            with torch.no_grad():
                for name, tensor in net.named_parameters():
                    tensor.add_(direction((4, client, 0), name, tensor), alpha=side * 0.01)
                losses.append(float(torch.nn.functional.cross_entropy(net(inputs), targets)))
        sent.append((client, encoded((losses[0] - losses[1]) / 0.02)))
    expected = {name: tensor.clone() for name, tensor in model().state_dict().items()}
    applied(expected, 4, 0, sent, 0.05)
    for name, tensor in expected.items():
        assert torch.allclose(found.weights[name], tensor, atol=1e-6)  # a byte is the same for losses that differ by a rounding
    assert found.history[0]["bytes_up"] == 3


def test_it_learns_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    """The paper's claim: training by bytes alone."""
    strategy, data = byte_each(Strategy(), model(), lr=0.1, epsilon=0.01), clients(4, 40)

    @torch.no_grad()
    def loss(weights: dict[str, torch.Tensor]) -> float:
        net = model()
        net.load_state_dict(weights)
        return sum(float(torch.nn.functional.cross_entropy(net(x), y)) for x, y in data.values()) / 4

    found = simulate(model(), data, strategy, rounds=60)
    assert loss(found.weights) < 0.6 * loss(model().state_dict())
    simulate(model(), data, strategy, rounds=20, folder=tmp_path)
    again = simulate(model(), data, strategy, rounds=60, folder=tmp_path)
    assert same(found.weights, again.weights) and sum(line["bytes_up"] for line in found.history) == 240


def test_anything_but_a_byte_is_refused() -> None:
    server = Server(model().state_dict(), byte_each(Strategy(), model(), lr=0.1), ["a"])
    server.tasks()
    wide = Reply("a", 0, {}, extra={"OneByteGradient": {"byte": torch.tensor([1.0])}})
    for reply in (
        wide,
        replace(wide, extra={}),
        Reply("a", 0, {"bias": torch.zeros(2)}, extra={"OneByteGradient": {"byte": torch.tensor([1], dtype=torch.int8)}}),
    ):
        fresh = Server(model().state_dict(), server.strategy, ["a"])
        fresh.tasks()
        refused = fresh.push(reply)
        assert refused and refused.words == "it is not one byte; add OneByteGradient() to the objective"
    with pytest.raises(BadParameter, match="lr is positive"):
        OneByteStep(lr=0)
