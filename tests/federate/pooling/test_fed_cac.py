"""FedCAC: masks, overlaps and mixtures by hand, and two kinds of clients that find each other."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import BadParameter
from loomweight.federate import FedCAC, Pool, Server, Strategy, collaborators, overlap, simulate
from loomweight.federate.simulate import carried_out
from tests.federate.small import clients, same, whole_batch

from .served import pooled, reply


def test_masks_and_overlaps_by_hand() -> None:
    aggregate = FedCAC(critical=0.5)
    assert aggregate.mask(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([4.0, -3.0, 0.5, 0.5])).tolist() == [True, True, False, False]  # 4, 6, 1.5, 2
    assert aggregate.mask(torch.ones(4), torch.tensor([0.0, 1.0, 0.0, 0.0])).tolist() == [False, True, False, False]  # what did not move is not critical
    assert not FedCAC(critical=0.1).mask(torch.ones(4), torch.ones(4)).any()
    mask = {name: {"w": torch.tensor(bits, dtype=torch.bool)} for name, bits in {"a": [1, 1, 0, 0], "b": [1, 0, 1, 0], "c": [0, 0, 1, 1]}.items()}
    assert [overlap(mask[i], mask[j]) for i, j in ("ab", "ac", "bc")] == [0.5, 0.0, 0.5]
    # the mean is 1 / 3 and the largest 1 / 2: at a part of 0 both halves pass, beyond 1 nobody does
    assert collaborators(mask, 0.0) == {"a": ["a", "b"], "b": ["b", "a", "c"], "c": ["c", "b"]}
    assert collaborators(mask, 1.01) == {"a": ["a"], "b": ["b"], "c": ["c"]}


def test_a_round_by_hand() -> None:
    """From w = (1, 1): a and b move the first entry, c the second. a and b share the first; the second is everybody's mean."""
    weights = {"w": torch.ones(2)}
    rounds = [{"a": reply("a", 0, [1.0, 0.1]), "b": reply("b", 0, [3.0, 0.2]), "c": reply("c", 0, [0.0, 6.0])}]
    server = pooled(FedCAC(critical=0.5, until=4), weights, rounds)
    assert server.weights["w"].tolist() == pytest.approx([1 + 4 / 3, 1 + 6.3 / 3])
    down = {task.client: task.weights["w"].tolist() for task in server.tasks()}
    assert down["a"] == down["b"] == pytest.approx([3.0, 3.1])
    assert down["c"] == pytest.approx([1 + 4 / 3, 7.0])
    assert server.history[0]["collaborators"] == pytest.approx(5 / 3)


def groups(examples: int = 30) -> dict[str, tuple[Tensor, Tensor]]:
    """Half of the clients look at other inputs, and call their classes the other way round."""
    found = {}
    for i, (client, (inputs, targets)) in enumerate(clients(6, examples).items()):
        far = torch.tensor([1.0, 1.0, 0.1, 0.1] if i < 3 else [0.1, 0.1, 1.0, 1.0])
        found[client] = (inputs * far, targets if i < 3 else 1 - targets)
    return found


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def right(server: Server, data: dict[str, tuple[Tensor, Tensor]]) -> float:
    """Of each client's own model on its own data."""
    net, found = network(), []
    for client, (inputs, targets) in data.items():
        net.load_state_dict(server.strategy.pooling.down(server.weights, server.pooling, client))
        found.append((net(inputs).argmax(1) == targets).double().mean().item())
    return sum(found) / len(found)


def test_clients_of_two_kinds_are_served_better_than_by_one_model() -> None:
    """The paper's claim, on clients whose interests clash."""
    data, local = groups(), whole_batch(0.5, steps=10)
    own = carried_out(network(), data, Strategy(aggregate=FedCAC(0.8, until=10), local=local), 15)
    one = carried_out(network(), data, Strategy(aggregate=Pool(), local=local), 15)
    assert right(own, data) > right(one, data) + 0.1
    assert 1 < own.history[0]["collaborators"] < 6 and own.history[0]["bytes_up"] == one.history[0]["bytes_up"]


def test_the_same_bits_after_a_stop_and_for_the_end_of_sharing(tmp_path: Path) -> None:
    strategy = Strategy(aggregate=FedCAC(0.5, until=3), local=whole_batch())
    straight = simulate(network(), groups(), strategy, 5)
    simulate(network(), groups(), strategy, 2, folder=tmp_path)
    again = simulate(network(), groups(), strategy, 5, folder=tmp_path)
    assert same(straight.weights, again.weights) and straight.history == again.history
    assert straight.history[-1]["collaborators"] == 1.0
    with pytest.raises(BadParameter, match="until is at least 1"):
        FedCAC(until=0)
