"""Training without a server: what mixing keeps and shrinks, the server's case, hostile nodes, resume."""

from functools import partial
from pathlib import Path

import pytest
import torch

from loomweight.errors import BadParameter
from loomweight.federate import (
    Book,
    DriveApart,
    Fault,
    Gossip,
    Gossiped,
    Graph,
    Local,
    PolyakMomentum,
    Pool,
    Reply,
    Strategy,
    World,
    complete,
    gossip,
    random_regular,
    ring,
    simulate,
)
from loomweight.rules import Mean, Median, NearestNeighbourMean

from ..pace import Point, drawn_to, half_square, steps
from ..small import clients, deep, model, same, whole_batch

FLAT = Local(steps=1, batch=1, loss=half_square, optimizer=partial(torch.optim.SGD, lr=1.0))


def points(found: Gossiped) -> torch.Tensor:
    return torch.cat([node["at"] for node in found.nodes.values()]).double()


@pytest.mark.parametrize("graph", [ring(6), random_regular(6, 3), Graph(6, ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5)))], ids=["ring", "regular", "path"])
def test_consensus_comes_at_the_rate_of_the_spectral_gap(graph: Graph) -> None:
    """One step of rate 1 takes each node to its own target, then training stands still (rate 0): what follows is W^k targets, a second formula."""
    targets = torch.tensor([3.0, -1.0, 4.0, 1.0, -5.0, 9.0], dtype=torch.float64)
    data = drawn_to(**{f"n{i}": target for i, target in enumerate(targets.tolist())})
    local = Local(steps=1, batch=1, loss=half_square, optimizer=FLAT.optimizer, schedule=lambda number: float(number == 0))
    found = gossip(Point(), data, Strategy(aggregate=Gossip(graph), local=local), 6)
    assert torch.allclose(points(found), torch.linalg.matrix_power(graph.mixing, 6) @ targets, atol=1e-5)  # float32 after each mixing
    start = (targets - targets.mean()).square().mean()
    spread = [line["disagreement"] for line in found.history]
    assert all(left <= (1 - graph.spectral_gap) ** (2 * (k + 1)) * start + 1e-6 for k, left in enumerate(spread))
    assert found.weights["at"].item() == pytest.approx(targets.mean().item(), abs=1e-5)  # mixing keeps the mean; float32


def test_on_the_complete_graph_it_is_federated_averaging() -> None:
    data, local = clients(4), whole_batch(steps=2)
    mixed = gossip(model(), data, Strategy(aggregate=Gossip(complete(4)), local=local), 3)
    pooled = simulate(model(), data, Strategy(aggregate=Pool(Mean(), counts=False), local=local), 3)
    for name in pooled.weights:
        for node in mixed.nodes.values():
            assert torch.allclose(node[name], pooled.weights[name], atol=1e-6)  # the same mean, summed in another order
    assert mixed.history[-1]["disagreement"] < 1e-12
    assert mixed.history[0]["bytes_up"] == 4 * 3 * 10 * 4 and mixed.history[0]["bytes_down"] == 0  # a model over each of 12 directed edges


def test_a_node_that_is_away_keeps_its_model_and_the_mean_is_kept() -> None:
    data = drawn_to(a=0.0, b=0.0, c=6.0, d=0.0)
    world = World(faults={"b": Fault("raises")})
    found = gossip(Point(), data, Strategy(aggregate=Gossip(ring(4)), local=FLAT), 1, world=world)
    third = 6 / 3  # c tells d a third, and keeps what b does not take
    assert points(found).tolist() == pytest.approx([0.0, 0.0, 6 - third, third])
    assert found.weights["at"].item() == pytest.approx(6 / 4)


HONEST = {f"h{i}": 1.0 + 0.1 * i for i in range(6)}
HOSTILE = {"x0": 0.0, "x1": 0.0}


def attacked(aggregate: Gossip, rounds: int = 12) -> Gossiped:
    world = World(attackers=dict.fromkeys(HOSTILE, DriveApart(30.0)))
    strategy = Strategy(objective=(PolyakMomentum(0.5),), aggregate=aggregate, local=steps(0.3))
    return gossip(Point(), drawn_to(**HONEST, **HOSTILE), strategy, rounds, world=world)


def test_monna_survives_nodes_that_tell_each_neighbour_something_else() -> None:
    """Two of eight drive the others apart: plain gossip never agrees, nearest neighbours stay near the honest mean of 1.25, as the paper claims."""
    honest = [f"h{i}" for i in range(6)]
    plain, monna = attacked(Gossip(complete(8))), attacked(Gossip(complete(8), NearestNeighbourMean(f=2)))
    places = torch.tensor([monna.nodes[name]["at"].item() for name in honest])
    assert (places - 1.25).abs().max() < 0.15  # within the honest targets, 1.0 to 1.5
    assert monna.history[-1]["disagreement"] < 0.01 < 100 < plain.history[-1]["disagreement"]
    assert attacked(Gossip(complete(8), Median())).history[-1]["disagreement"] < 0.5


class Broken(DriveApart):
    """NaN to one neighbour, another shape to the next."""

    def face(self, receiver, own, honest, draw):
        return {"at": torch.tensor([float("nan")]) if receiver == "h0" else torch.zeros(2)}


def test_a_neighbour_s_broken_model_is_left_out() -> None:
    data = drawn_to(h0=1.0, h1=1.0, x=0.0)
    found = gossip(Point(), data, Strategy(aggregate=Gossip(complete(3)), local=FLAT), 1, world=World(attackers={"x": Broken()}))
    assert points(found)[:2].tolist() == [1.0, 1.0] and found.history[0]["left_out"] == 2


def test_momentum_lives_at_the_node_from_task_to_task() -> None:
    """By hand: gradients -1, then w - 1; m = -0.5, then 0.5 m + 0.5 (w - 1)."""
    found = gossip(Point(), drawn_to(a=1.0, b=1.0), Strategy(objective=(PolyakMomentum(0.5),), aggregate=Gossip(complete(2)), local=steps(0.1)), 2)
    first = 0.1 * 0.5
    assert found.weights["at"].item() == pytest.approx(first - 0.1 * (0.5 * -0.5 + 0.5 * (first - 1)))


def test_in_pieces_it_gives_the_same_bits(tmp_path: Path) -> None:
    def run(rounds: int, folder: Path | None = None) -> Gossiped:
        strategy = Strategy(objective=(PolyakMomentum(),), aggregate=Gossip(ring(5)), local=Local(epochs=1, batch=4), tensors={"4.bias": "local"})
        return gossip(deep(), clients(5), strategy, rounds, world=World(attackers={"c1": DriveApart(0.1)}), folder=folder)

    straight = run(3)
    run(1, tmp_path)
    pieces = run(3, tmp_path)
    assert straight.history == pieces.history and all(same(straight.nodes[name], pieces.nodes[name]) for name in straight.nodes)
    assert not same(straight.nodes["c0"], straight.nodes["c2"])


def test_words() -> None:
    with pytest.raises(BadParameter, match="3 nodes, and there are 4 clients"):
        gossip(model(), clients(4), Strategy(aggregate=Gossip(ring(3))), 1)
    with pytest.raises(BadParameter, match=r"a Gossip\(graph\), found Pool"):
        gossip(model(), clients(4), Strategy(), 1)


def test_variance_vanishes_by_averaging_and_not_with_the_correction() -> None:
    """Nodes whose models have nothing to do with each other: n averaged models have 1 / n of the variance, corrected ones all of it."""
    start = {f"n{i}": {"w": torch.randn(64, 64, generator=torch.Generator().manual_seed(i))} for i in range(8)}
    book = Book(0, tuple(start))
    held = {"replies": [Reply(name, 0, {"w": torch.zeros(64, 64)}) for name in start]}

    def spread(correct: bool) -> list[float]:
        _, state = Gossip(complete(8), correct=correct).pool({"w": torch.zeros(64, 64)}, held, {"nodes": start}, book)
        return [model["w"].var().item() for model in state["nodes"].values()]

    assert spread(correct=False) == pytest.approx([1 / 8] * 8, rel=0.1)  # 4096 draws: the variance is within a few per cent
    assert spread(correct=True) == pytest.approx([1.0] * 8, rel=0.05)  # the same
