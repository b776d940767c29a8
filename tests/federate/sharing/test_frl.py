"""FRL: rankings by hand, their bytes, and what hostile clients can do to a vote."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from loomweight.errors import BadParameter, BadReply
from loomweight.federate import Attack, Local, Ranks, RankVote, Reply, Server, Strategy, World, frl, masks, simulate, supermasked
from loomweight.federate.messages.ranking import bits_for, packed_ranks, places, unpacked_ranks
from tests.federate.small import clients, same


@given(st.integers(1, 70), st.integers(0, 10))
def test_ranks_come_back_from_their_bits(count: int, seed: int) -> None:
    ranks = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    packed = packed_ranks(ranks)
    assert torch.equal(unpacked_ranks(packed, ranks, "s"), ranks) and len(packed) == -(-count * bits_for(count) // 8)
    assert torch.equal(places(ranks * 0.1 - 3), ranks)


def test_a_vote_by_hand() -> None:
    """Ranks (2, 0, 1), (2, 1, 0), (0, 1, 2) sum to (4, 2, 3): the order is second, third, first, whatever the examples."""
    server = Server({"s": torch.zeros(3, 1)}, Strategy(aggregate=RankVote()), ["a", "b", "c"])
    server.tasks()
    for client, ranks in {"a": [2.0, 0.0, 1.0], "b": [2.0, 1.0, 0.0], "c": [0.0, 1.0, 2.0]}.items():
        assert server.push(Reply(client, 0, {"s": torch.tensor(ranks)[:, None]}, weight=50.0 if client == "c" else 1.0)) is None
    server.close()
    assert server.weights["s"].flatten().tolist() == pytest.approx([1.0, 1 / 3, 2 / 3])


def network(width: int = 32) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return supermasked(nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2)))  # type: ignore[return-value]


def strategy(**options: object) -> Strategy:
    local = Local(epochs=2, batch=10, optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9))
    return frl(Strategy(local=local, **options), network())


class Reversed(Attack):
    """The order that the honest have found, the other way round, as in the authors' code; where numbers are sent, five times their mean."""

    def forge(self, own, honest, draw):
        size = 1e6 if all("scores" in name for name in own.update) else 5.0
        return replace(own, update={name: -size * torch.stack([update[name] for update in honest]).mean(0) for name in own.update})


WORLD = World(attackers={"c0": Reversed(), "c1": Reversed()})


def right(model: nn.Module) -> float:
    inputs, targets = (torch.cat([part[i] for part in clients(10, 30).values()]) for i in (0, 1))
    return (model(inputs).argmax(1) == targets).double().mean().item()


def test_a_random_network_is_pruned_to_one_that_knows_and_two_of_ten_cannot_stop_it() -> None:
    """The paper's claims: near the accuracy of trained weights by a mask alone, and each client has a single vote."""
    data = clients(10, 30)
    found, attacked = (simulate(network(), data, strategy(), rounds=5, world=world) for world in (World(), WORLD))
    assert right(network()) < 0.6 and right(found.model) > 0.9 and right(attacked.model) > 0.9
    assert [line["pooled"] for line in attacked.history] == [10] * 5
    plain = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    averaged = simulate(plain, data, Strategy(local=strategy().local), rounds=5, world=WORLD)
    assert right(averaged.model) < 0.6  # the mean follows the same two
    start = network()
    assert {name: int(mask.sum()) for name, mask in masks(found.model).items()} == {"0.derived.weight.scores": 64, "2.derived.weight.scores": 32}
    for name, tensor in start.named_buffers():
        assert torch.equal(tensor, dict(found.model.named_buffers())[name])  # no weight was trained


def test_bytes_both_ways_and_the_same_bits_after_a_stop(tmp_path: Path) -> None:
    data = clients(3)
    found = simulate(network(), data, strategy(), rounds=4)
    each = 128 * 7 // 8 + 64 * 6 // 8  # 7 and 6 bits a rank, where a number has 32
    assert found.history[0]["bytes_up"] == found.history[0]["bytes_down"] == 3 * each < 3 * (128 + 64) * 4 / 4.7
    simulate(network(), data, strategy(), rounds=2, folder=tmp_path)
    again = simulate(network(), data, strategy(), rounds=4, folder=tmp_path)
    assert same(found.weights, again.weights) and found.history == again.history


def test_what_is_no_ranking_is_refused() -> None:
    like = {"s": torch.zeros(4)}
    twice = Ranks().pack_down({"s": torch.tensor([1.0, 2.0, 3.0, 4.0])}, "a")
    twice["s"] = torch.tensor([0b01010000], dtype=torch.uint8)
    with pytest.raises(BadReply, match="each rank from 0 to 3 once"):
        Ranks().open(twice, like)
    with pytest.raises(BadReply, match="the server has none"):
        Ranks().open({"t": twice["s"]}, like)
    server = Server(like, Strategy(aggregate=RankVote()), ["a"])
    server.tasks()
    refused = server.push(Reply("a", 0, {"s": torch.ones(4)}))
    assert refused and "holds no ranks" in refused.words
    with pytest.raises(BadParameter, match="do not fit"):
        RankVote().start({"s": torch.zeros(300, dtype=torch.bfloat16)})
    with pytest.raises(BadParameter, match="supermasked"):
        frl(Strategy(), nn.Linear(2, 2))
    with pytest.raises(BadParameter, match="two axes"):
        supermasked(nn.Linear(2, 2), share=0)
