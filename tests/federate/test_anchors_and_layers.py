"""FedAMD's anchors and miners, delayed Nesterov as an aggregate, servers in layers."""

import pytest
import torch

from loomweight.errors import BadParameter
from loomweight.federate import (
    AnchorSampling,
    Delayed,
    DelayedNesterov,
    FedAMD,
    Federation,
    Local,
    Reply,
    Sample,
    Server,
    Strategy,
    World,
    edge_reply,
    simulate,
)

from .pace import Paces, Point, drawn_to, steps
from .small import clients, deep, same

APART = drawn_to(a=-4.0, b=0.0, c=1.0, d=7.0)


def amd(count: float, rounds: int, local: Local, **anchors: object) -> Federation:
    strategy = Strategy(choose=Sample(count), objective=(AnchorSampling(**anchors),), aggregate=FedAMD(), local=local)
    return simulate(Point(), APART, strategy, rounds, world=World(test=lambda model: {"at": model.at.item()}))


def test_one_miner_steps_along_everybody_s_gradient() -> None:
    """All are anchors at first; then whoever mines goes to the mean of all: mean target 1, rate 0.1, one step of descent on all data."""
    strategy = Strategy(objective=(AnchorSampling(every=99),), aggregate=FedAMD(), local=steps(0.1))
    found = simulate(Point(), APART, strategy, 2)
    assert found.history[0]["anchors"] == 4 and found.history[1]["anchors"] == 0
    assert found.weights["at"].item() == pytest.approx(0.1 * 1.0)


def test_a_miner_s_steps_by_hand() -> None:
    """v_0 = mean gradient; on one example gradients are w - target, so v_k = v_{k-1} + w_k - w_{k-1}: three steps of a client contract as one on all data."""
    strategy = Strategy(objective=(AnchorSampling(every=99),), aggregate=FedAMD(), local=steps(0.1, 3))
    assert simulate(Point(), APART, strategy, 2).weights["at"].item() == pytest.approx(1 - 0.9**3)


def test_an_anchor_sends_a_gradient_and_no_update() -> None:
    found = simulate(Point(), APART, Strategy(objective=(AnchorSampling(),), aggregate=FedAMD(), local=steps()), 1)
    assert found.weights["at"].item() == 0.0 and found.history[0]["bytes_up"] == 4 * 4  # one number each


def test_few_participants_do_not_throw_the_model_about() -> None:
    """The paper's claim: with one client a round, averaging follows whoever came; miners follow the cached bullseyes of all."""

    def swing(found: Federation) -> torch.Tensor:
        return torch.tensor([line["at"] for line in found.history[-20:]])

    averaged = simulate(Point(), APART, Strategy(choose=Sample(1), local=steps(0.3)), 60, world=World(test=lambda model: {"at": model.at.item()}))
    anchored = swing(amd(2, 120, steps(0.1), probability=0.5))
    assert (anchored - 1.0).abs().max() < 0.15 < 0.5 < swing(averaged).std()


def test_it_goes_on_to_the_same_bits_and_takes_any_model(tmp_path) -> None:
    def run(rounds: int, folder=None) -> Federation:
        strategy = Strategy(choose=Sample(3), objective=(AnchorSampling(0.5),), aggregate=FedAMD(), local=Local(epochs=1, batch=6))
        return simulate(deep(), clients(4), strategy, rounds, folder=folder)

    straight = run(4)
    run(2, tmp_path)
    assert same(straight.weights, run(4, tmp_path).weights)
    with pytest.raises(BadParameter, match="probability"):
        AnchorSampling(probability=0.0)


def test_delayed_nesterov_of_every_answer_is_the_state_machine_s() -> None:
    """Answers in the order of their times, each a push: a second formula on the quadratic."""
    server, pace = DelayedNesterov(lr=0.7, momentum=0.9, every=2), Paces({"a": 1.0, "b": 2.5})
    found = simulate(Point(), drawn_to(a=1.0, b=-1.0), Strategy(aggregate=Delayed(server), local=steps(0.1)), 4, world=World(speeds=pace))
    state = server.start({"at": torch.zeros(1)})
    targets, received = {"a": 1.0, "b": -1.0}, {"a": torch.zeros(1), "b": torch.zeros(1)}
    for client in "aaba":  # at 1, 2, 2.5, 3
        state = server.push(state, {"at": 0.1 * (received[client] - targets[client])})
        received[client] = server.weights(state)["at"]
    assert torch.allclose(found.weights["at"], server.weights(state)["at"])
    assert [line["time"] for line in found.history] == [1.0, 2.0, 2.5, 3.0]


def test_steps_by_speed_make_tasks_of_equal_length() -> None:
    class BySteps(Paces):
        def duration(self, client: str, number: int, steps: int) -> float:
            return steps * self.seconds[client]

    aggregate = Delayed(DelayedNesterov(every=2), speeds={"a": 1.0, "b": 0.25}, most=8)
    world = World(speeds=BySteps({"a": 1.0, "b": 4.0}))
    found = simulate(Point(), drawn_to(a=1.0, b=-1.0), Strategy(aggregate=aggregate, local=steps(0.01)), 4, world=world)
    assert [line["time"] for line in found.history] == [8.0, 8.0, 16.0, 16.0] and [line["steps"] for line in found.history] == [8, 2, 8, 2]


@pytest.mark.parametrize("groups", [(("c0", "c1"), ("c2", "c3", "c4")), (("c0",), ("c1", "c2", "c3"), ("c4",))])
def test_a_mean_in_layers_is_the_flat_mean(groups: tuple[tuple[str, ...], ...]) -> None:
    weights = {"w": torch.zeros(3), "b": torch.ones(2)}
    generator = torch.Generator().manual_seed(1)
    drawn = {f"c{i}": {name: torch.randn(tensor.shape, generator=generator) for name, tensor in weights.items()} for i in range(5)}

    def answered(server: Server) -> Server:
        for task in server.tasks():
            server.push(Reply(task.client, task.round, drawn[task.client], weight=1.0 + int(task.client[1])))
        server.close()
        return server

    top = Server(weights, Strategy(), [f"edge{i}" for i in range(len(groups))])
    for task, group in zip(top.tasks(), groups, strict=True):
        top.push(edge_reply(answered(Server(task.weights, Strategy(), group)), task))
    top.close()
    flat = answered(Server(weights, Strategy(), list(drawn)))
    assert top.history[0]["weight"] == flat.history[0]["weight"] == 15
    for name in weights:
        assert torch.allclose(top.weights[name], flat.weights[name], atol=1e-6)  # float32, divided twice
