"""Clients that are asked one by one: what the server and the simulation do with what is still out when a round ends."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from loomweight.errors import TooFewReplies
from loomweight.federate import (
    Aggregate,
    Attack,
    Buffered,
    Fault,
    Federation,
    FedFix,
    Guard,
    Lost,
    Reply,
    Sample,
    Server,
    Strategy,
    World,
    resumed,
    simulate,
    state_of_server,
)
from loomweight.federate.shares import capped
from loomweight.weights.plain_state import load_plain_state, save_plain_state

from .pace import Paces, Point, drawn_to, steps
from .small import clients, deep, same

FIVE = [f"c{i}" for i in range(5)]
PACE = Paces(
    {name: 0.6 + 0.9 * i for i, name in enumerate(FIVE)},
    away=lambda client, number: (client, number % 4) in {("c1", 0), ("c2", 2)},
    failing=lambda client, number: number % 7 == 3,
)


@dataclass(frozen=True)
class Mirror(Attack):
    """The mean of what it has seen of the honest, turned round."""

    def forge(self, own, honest, draw):
        return replace(own, update={name: -torch.stack([update[name] for update in honest]).double().mean(0).to(own.update[name].dtype) for name in own.update})


@dataclass(frozen=True)
class Random(Attack):
    """Noise that needs to see nobody."""

    sees: ClassVar[bool] = False

    def forge(self, own, honest, draw):
        return replace(own, update={name: torch.from_numpy(draw.normal(size=tuple(tensor.shape))).to(tensor.dtype) for name, tensor in own.update.items()})


def run(aggregate: Aggregate, rounds: int, folder: Path | None = None, engine: str = "inline", **hooks: object) -> Federation:
    strategy = Strategy(**{"aggregate": aggregate, "tensors": {"4.bias": "local"}, "guard": Guard(stale=3, few="skip"), **hooks})
    world = World(seed=2, speeds=PACE, attackers={"c4": Mirror(), "c3": Random()})
    return simulate(deep(), clients(5), strategy, rounds, engine=engine, world=world, folder=folder)


@pytest.mark.parametrize("aggregate", [Buffered(3), FedFix(interval=1.0), FedFix(size=2)], ids=str)
def test_a_run_stopped_with_tasks_in_flight_goes_on_to_the_same_bits(aggregate: Aggregate, tmp_path: Path) -> None:
    """Slow, absent, failing and hostile clients, memories of their own: stopped after every second round, with answers on their way."""
    straight = run(aggregate, 6)
    for rounds in (2, 4, 6):
        pieces = run(aggregate, rounds, tmp_path)
    assert same(straight.weights, pieces.weights) and straight.history == pieces.history
    times = [line["time"] for line in straight.history]
    assert times == sorted(times) and times[-1] > 0
    assert any(line.get("behind", 0) > 0 for line in straight.history)  # tasks did outlive their rounds


@pytest.mark.slow
def test_and_on_ray() -> None:
    straight, spread = run(Buffered(3), 6), run(Buffered(3), 6, engine="ray:2")
    assert same(straight.weights, spread.weights) and straight.history == spread.history


def test_the_answer_that_ends_a_round_comes_before_the_next_task() -> None:
    """With one answer a round, whoever gave it begins with the weights that it made: nothing is ever stale for a single client."""
    server = Server({"w": torch.zeros(1)}, Strategy(aggregate=Buffered(1)), ["ann"])
    for number in range(3):
        [task] = server.tasks()
        assert task.weights["w"].item() == number
        server.push(Reply("ann", task.round, {"w": torch.ones(1)}))
        assert server.enough
        server.close()


def test_answers_that_come_just_when_a_round_ends_count() -> None:
    pace = Paces(dict.fromkeys(FIVE, 2.0))
    found = simulate(Point(), drawn_to(**dict.fromkeys(FIVE, 1.0)), Strategy(aggregate=FedFix(interval=2.0), local=steps()), 3, world=World(speeds=pace))
    assert [line["pooled"] for line in found.history] == [5, 5, 5]
    waiting = Strategy(guard=Guard(deadline=2.0), local=steps())
    found = simulate(Point(), drawn_to(**dict.fromkeys(FIVE, 1.0)), waiting, 2, world=World(speeds=pace))
    assert [line["pooled"] for line in found.history] == [5, 5]


def test_a_round_in_which_all_are_busy_ends_in_its_time_and_changes_nothing() -> None:
    found = simulate(Point(), drawn_to(a=1.0), Strategy(aggregate=FedFix(interval=1.0), local=steps()), 6, world=World(speeds=Paces({"a": 2.5})))
    assert [line["time"] for line in found.history] == [1, 2, 3, 4, 5, 6]
    assert [line["pooled"] for line in found.history] == [0, 0, 1, 0, 0, 1] and [line["asked"] for line in found.history] == [1, 0, 0, 1, 0, 0]
    assert [line["skipped"] for line in found.history] == [True, True, False] * 2


def test_a_client_that_is_away_is_asked_when_it_is_back() -> None:
    pace = Paces({"a": 1.0, "b": 1.0}, away=lambda client, number: client == "a" and number in (0, 1, 4))
    found = simulate(Point(), drawn_to(a=1.0, b=1.0), Strategy(aggregate=FedFix(interval=1.0), local=steps()), 6, world=World(speeds=pace))
    assert [line["pooled"] for line in found.history] == [1, 1, 2, 2, 1, 2]
    assert all(line["refused"] == {} for line in found.history)


def test_a_hanging_client_is_given_up_when_its_answer_would_be_too_old() -> None:
    data, world = drawn_to(a=1.0, b=1.0), World(speeds=Paces({"a": 1.0, "b": 1.0}), faults={"b": Fault("hangs", when=lambda number: number == 0)})
    found = simulate(Point(), data, Strategy(aggregate=FedFix(interval=1.0), local=steps(), guard=Guard(stale=2)), 6, world=world)
    assert [line["who"] for line in found.history] == [{}, {}, {"b": "late"}, {}, {}, {}]
    assert [line["pooled"] for line in found.history] == [1, 1, 1, 2, 2, 2]
    patient = simulate(Point(), data, Strategy(aggregate=FedFix(interval=1.0), local=steps()), 6, world=world)
    assert [line["pooled"] for line in patient.history] == [1] * 6  # without a limit it is waited for


def test_an_answer_too_old_is_never_pooled() -> None:
    """A task that takes three rounds may be two behind, and not one."""
    pace = Paces({"a": 1.0, "b": 2.5})

    def pooled(stale: int) -> list[int]:
        strategy = Strategy(aggregate=FedFix(interval=1.0), local=steps(), guard=Guard(stale=stale))
        return [line["pooled"] for line in simulate(Point(), drawn_to(a=1.0, b=1.0), strategy, 6, world=World(speeds=pace)).history]

    assert pooled(2) == [1, 1, 2, 1, 1, 2] and pooled(1) == [1] * 6


@pytest.mark.parametrize("aggregate", [Buffered(2), FedFix(size=2), FedFix(interval=1.0)], ids=str)
def test_clients_that_always_fail_end_the_run_and_not_the_patience(aggregate: Aggregate) -> None:
    data = drawn_to(a=1.0, b=1.0)
    for kind, code in (("raises", "died"), ("nothing", "nothing")):
        world = World(speeds=Paces({"a": 0.5, "b": 0.5}), faults=dict.fromkeys(data, Fault(kind)))
        with pytest.raises(TooFewReplies, match="0 of 2 replies count"):
            simulate(Point(), data, Strategy(aggregate=aggregate, local=steps()), 2, world=world)
        found = simulate(Point(), data, Strategy(aggregate=aggregate, local=steps(), guard=Guard(few="skip")), 2, world=world)
        assert [line["refused"] for line in found.history] == [{code: 2}] * 2 and found.weights["at"].item() == 0.0


def test_one_that_fails_each_time_is_asked_once_a_round() -> None:
    world = World(speeds=Paces({"a": 1.0, "b": 0.1}), faults={"b": Fault("raises")})
    found = simulate(Point(), drawn_to(a=1.0, b=1.0), Strategy(aggregate=Buffered(2), local=steps()), 3, world=world)
    assert [line["refused"] for line in found.history] == [{"died": 1}] * 3 and [line["pooled"] for line in found.history] == [2] * 3


def test_an_answer_is_told_from_the_one_before_it() -> None:
    """In one round ann is asked twice; her first answer, sent again, does not stand for her second."""
    server = Server({"w": torch.zeros(1)}, Strategy(aggregate=Buffered(9)), ["ann", "bob"])
    first = {task.client: task for task in server.tasks()}["ann"]
    reply = Reply("ann", first.round, {"w": torch.ones(1)}, number=first.number)
    assert server.push(reply) is None
    [second] = server.tasks()
    assert second.client == "ann" and second.round == first.round and second.number != first.number
    refused = server.push(reply)
    assert refused is not None and refused.code == "old-round"
    assert server.push(replace(reply, number=second.number)) is None and server.book.answered == ["ann", "ann"]


def test_the_share_of_a_client_is_over_all_its_answers() -> None:
    replies = [Reply("ann", 0, {}, 1.0), Reply("ann", 0, {}, 3.0), Reply("bob", 0, {}, 1.0), Reply("cai", 0, {}, 1.0)]
    assert [reply.weight for reply in capped(replies, 0.5)] == [0.5, 1.5, 1.0, 1.0]
    server = Server({"w": torch.zeros(1)}, Strategy(aggregate=Buffered(4, counts=True), guard=Guard(largest_share=0.5)), ["ann", "bob", "cai"])
    server.tasks()
    for client, value in (("ann", 1.0), ("ann", 1.0), ("bob", 0.0), ("cai", 0.0)):
        assert server.push(Reply(client, 0, {"w": torch.full((1,), value)})) is None
        server.tasks()
    assert server.close()["pooled"] == 4 and server.weights["w"].item() == 0.5


def test_a_server_is_saved_with_answers_and_tasks_on_their_way(tmp_path: Path) -> None:
    strategy = Strategy(aggregate=Buffered(3), choose=Sample(3))
    weights = {"w": torch.zeros(2)}

    def go(server: Server, cut: bool) -> Server:
        mailbox = list(server.tasks())
        for turn in range(14):
            if cut and turn % 3 == 1:
                save_plain_state(state_of_server(server), tmp_path / "state.safetensors", "server", overwrite=True)
                server = resumed(weights, strategy, load_plain_state(tmp_path / "state.safetensors", "server"))
            task = mailbox.pop(turn % len(mailbox))
            value = torch.full((2,), float(task.number)) - task.weights["w"]
            server.push(Lost(task.client, task.round) if turn == 5 else Reply(task.client, task.round, {"w": value}, number=task.number))
            if server.enough:
                server.close(float(turn))
            mailbox += server.tasks(float(turn))
        return server

    straight, pieces = go(Server(weights, strategy, FIVE, seed=4), cut=False), go(Server(weights, strategy, FIVE, seed=4), cut=True)
    assert straight.round == 4 and straight.history == pieces.history and same(straight.weights, pieces.weights) and straight.out == pieces.out


def test_attackers_see_what_the_honest_sent_last() -> None:
    """Honest clients move by +0.1 at 1.0; the mirror, which answers after them, takes it back; noise from one that sees nobody is its own."""
    data, pace = drawn_to(a=1.0, b=1.0, c=1.0), Paces({"a": 1.0, "b": 1.0, "c": 1.5})
    found = simulate(Point(), data, Strategy(aggregate=Buffered(3), local=steps()), 1, world=World(speeds=pace, attackers={"c": Mirror()}))
    assert found.weights["at"].item() == pytest.approx((0.1 + 0.1 - 0.1) / 3)
    alone = simulate(
        Point(), data, Strategy(aggregate=Buffered(1), local=steps()), 1, world=World(speeds=Paces({"a": 9.0, "b": 9.0, "c": 1.0}), attackers={"c": Mirror()})
    )
    assert alone.weights["at"].item() == pytest.approx(0.1)  # nobody to see yet: it answers honestly
