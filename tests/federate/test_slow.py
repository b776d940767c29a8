"""Slow and absent clients: FedFix and what it covers, buffers, anarchic workers."""

from dataclasses import replace

import pytest
import torch

from loomweight.errors import BadParameter
from loomweight.federate import (
    Aggregate,
    Anarchic,
    Buffered,
    Everyone,
    Federation,
    FedFix,
    Hinge,
    Polynomial,
    Pool,
    Reply,
    Sample,
    Server,
    Strategy,
    Term,
    World,
    simulate,
)
from loomweight.rules import Mean

from .pace import Paces, Point, drawn_to, steps
from .small import clients, model, same, whole_batch

TWO = drawn_to(quick=-1.0, slow=1.0)
ONE_TO_THREE = Paces({"quick": 1.0, "slow": 3.0})


def trained(aggregate: Aggregate, rounds: int, pace: Paces = ONE_TO_THREE, rate: float = 0.1, **hooks: object) -> Federation:
    at = World(speeds=pace, test=lambda model: {"at": model.at.item()})
    return simulate(Point(), TWO, Strategy(aggregate=aggregate, local=steps(rate), **hooks), rounds, world=at)


def path(found: Federation) -> list[float]:
    return [line["at"] for line in found.history]


@pytest.mark.parametrize("aggregate", [FedFix(interval=3.0), FedFix(interval=50.0), FedFix(size=2)])
def test_fedfix_that_waits_for_the_slowest_is_federated_averaging(aggregate: FedFix) -> None:
    data, strategy, world = clients(), Strategy(local=whole_batch()), World(speeds=Paces({"c0": 1.0, "c1": 2.0, "c2": 3.0}))
    patient = aggregate if aggregate.interval else replace(aggregate, size=3)
    found = simulate(model(), data, replace(strategy, aggregate=patient), 4, world=world)
    plain = simulate(model(), data, strategy, 4, world=world)
    for name in plain.weights:
        assert torch.allclose(found.weights[name], plain.weights[name], atol=1e-6)  # the same sums, divided in another order
    times = [line["time"] for line in found.history]
    assert times == ([patient.interval * (i + 1) for i in range(4)] if patient.interval else [line["time"] for line in plain.history])


def test_one_answer_a_round_by_hand() -> None:
    """w <- w + p (t + 1) rate (target - w_then) with p = 1/2: quick at 1, 2, 3 (then slow, begun at 0, at 3 too), quick at 4."""
    found = trained(FedFix(size=1), rounds=5, pace=Paces({"quick": 1.0, "slow": 3.0}))
    w1 = 0.5 * 0.1 * -1.0
    w2 = w1 + 0.5 * 0.1 * (-1.0 - w1)
    slow_first = w2 + 0.5 * 3 * 0.1 * 1.0  # its task was out for three rounds
    quick_third = slow_first + 0.5 * 2 * 0.1 * (-1.0 - w2)
    last = quick_third + 0.5 * 0.1 * (-1.0 - quick_third)
    assert path(found) == pytest.approx([w1, w2, slow_first, quick_third, last], abs=1e-6)  # float32
    assert [line["behind"] for line in found.history] == [0, 0, 2, 1, 0] and [line["time"] for line in found.history] == [1, 2, 3, 3, 4]


def test_fedfix_by_hand_at_fixed_times() -> None:
    """Every 2 seconds: quick is in each round, slow (3 seconds, asked at 0 and at 4) in every other one with twice the weight."""
    at, w = [], 0.0
    old = 0.0
    for number in range(4):
        change = 0.5 * 0.1 * (-1.0 - w) + (0.5 * 2 * 0.1 * (1.0 - old) if number % 2 else 0.0)
        w += change
        old = w if number % 2 else old
        at.append(w)
    assert path(trained(FedFix(interval=2.0), rounds=4)) == pytest.approx(at, abs=1e-6)  # float32


@pytest.mark.parametrize("size", [1, 2])
def test_fair_weights_lead_to_the_optimum_and_naive_ones_to_the_quick_clients(size: int) -> None:
    """The optimum is 0. The paper's surrogate: a naive server minimises the clients' losses weighed by how often they answer, 3 to 1."""
    fair = FedFix(size=1) if size == 1 else FedFix(interval=2.0)
    naive = replace(fair, fair=False)
    often = (-3 + 1) / 4 if size == 1 else (-2 + 1) / 3

    def rest(aggregate: FedFix) -> float:
        tail = path(trained(aggregate, rounds=140, rate=0.05))[-40:]
        return sum(tail) / len(tail)

    assert abs(rest(fair)) < 0.05  # it swings around the optimum by a step of 0.05 x 3 / 2
    assert rest(naive) == pytest.approx(often, abs=0.05)  # the same swing
    if size == 1:
        assert rest(Buffered(1, rate=1.0)) < -0.4  # staleness makes it worse than -1/2 + the swing, never better


def test_fedfix_is_faster_than_waiting_for_the_slowest() -> None:
    pace = Paces({"quick": 1.0, "slow": 10.0})
    waiting, fixed = trained(Pool(Mean()), 3, pace), trained(FedFix(interval=1.0), 30, pace)
    assert waiting.history[-1]["time"] == fixed.history[-1]["time"] == 30.0
    assert sum(line["pooled"] for line in fixed.history) > 5 * sum(line["pooled"] for line in waiting.history) - 1


def test_examples_are_the_importance() -> None:
    """A client with three examples out of four, though it is slow, pulls the optimum three quarters of the way."""
    data = {"quick": (torch.zeros(1, 1), -torch.ones(1, 1)), "slow": (torch.zeros(3, 1), torch.ones(3, 1))}
    found = simulate(Point(), data, Strategy(aggregate=FedFix(size=1), local=replace(steps(0.05), batch=3)), 120, world=World(speeds=ONE_TO_THREE))
    assert found.weights["at"].item() == pytest.approx(0.5, abs=0.1)  # within the last steps' swing


def test_a_buffer_of_one_and_one_client_is_descent() -> None:
    """The client's next task has the weights that its answer made: w <- w + rate (target - w)."""
    found = simulate(Point(), drawn_to(a=1.0), Strategy(aggregate=Buffered(1), local=steps(0.1)), 5, world=World(speeds=Paces({"a": 1.0})))
    assert found.weights["at"].item() == pytest.approx(1 - 0.9**5)
    assert all(line["behind"] == 0 for line in found.history)


def test_a_buffer_by_hand() -> None:
    """Size 2: quick at 1 and 2, both from w = 0; then quick at 3 (from w1) with slow at 3 (from 0, one round behind)."""
    found = trained(Buffered(2), rounds=2)
    w1 = (0.1 * -1 + 0.1 * -1) / 2
    w2 = w1 + (0.1 * 1 / 2**0.5 + 0.1 * (-1 - w1)) / 2
    assert path(found) == pytest.approx([w1, w2], abs=1e-6)  # float32
    assert [line["pooled"] for line in found.history] == [2, 2]


def test_no_more_clients_are_busy_than_the_choice_allows() -> None:
    data = drawn_to(**{f"c{i}": float(i) for i in range(6)})
    strategy = Strategy(choose=Sample(2), aggregate=Buffered(3), local=steps())
    found = simulate(Point(), data, strategy, 4, world=World(speeds=Paces({name: 1.0 + i for i, name in enumerate(data)})))
    assert found.history[0]["asked"] in (4, 5) and all(line["asked"] <= 3 + 1 for line in found.history[1:])  # two at first, then one for each answer


class OwnSteps(Term):
    """Each client makes as many steps as it likes: slow ones few."""

    def begin(self, work):
        work.steps = 1 if work.task.client == "slow" else 8


def test_steps_do_not_buy_influence() -> None:
    """Anarchic: eight small steps are an update of one, on average. A plain mean leans to those who did much."""
    even = Paces({"quick": 1.0, "slow": 1.0})
    local = steps(0.005, 8)

    def rest(aggregate: Aggregate) -> float:
        strategy = Strategy(objective=(OwnSteps(),), aggregate=aggregate, local=local)
        return simulate(Point(), TWO, strategy, 60, world=World(speeds=even)).weights["at"].item()

    assert rest(FedFix(size=2, rate=4.0)) == pytest.approx((-8 + 1) / 9, abs=0.05)  # eight steps of one, one of the other
    assert abs(rest(Anarchic(size=2, rate=16.0))) < 0.02  # the eight steps shrink a little on their way


def test_anarchic_by_hand() -> None:
    strategy = Strategy(objective=(OwnSteps(),), aggregate=Anarchic(size=2, rate=3.0), local=steps(0.1, 8))
    found = simulate(Point(), TWO, strategy, 1, world=World(speeds=Paces({"quick": 1.0, "slow": 1.0})))
    assert found.weights["at"].item() == pytest.approx(3 * (0.1 - (1 - 0.9**8) / 8) / 2)


@pytest.mark.parametrize("said", [{}, {"steps": float("nan")}, {"steps": -3.0}])
def test_a_worker_that_does_not_say_its_steps_is_refused(said: dict[str, float]) -> None:
    server = Server({"w": torch.zeros(1)}, Strategy(aggregate=Anarchic(size=1)), ["ann"])
    server.tasks()
    refused = server.push(Reply("ann", 0, {"w": torch.ones(1)}, metrics=said))
    assert refused is not None and "steps" in refused.words


def test_silos_keep_what_absent_workers_sent_last() -> None:
    """Three workers at -1, 0 and 4, one answer a round: across devices w is thrown about, across silos it comes to rest at 1."""
    data, pace = drawn_to(a=-1.0, b=0.0, c=4.0), Paces({"a": 1.0, "b": 1.1, "c": 1.2})

    def swing(silos: bool) -> tuple[float, float]:
        strategy = Strategy(aggregate=Anarchic(size=1, rate=1.0, silos=silos), local=steps(0.2))
        at = World(speeds=pace, test=lambda model: {"at": model.at.item()})
        tail = torch.tensor(path(simulate(Point(), data, strategy, 70, world=at))[-12:])
        return float(tail.mean()), float(tail.std())

    mean, spread = swing(silos=True)
    assert mean == pytest.approx(1.0, abs=0.01) and spread < 0.01  # at rest
    assert swing(silos=False)[1] > 10 * spread


def test_functions_of_staleness_and_words() -> None:
    assert [Polynomial(1.0)(t) for t in (0, 1, 3)] == [1.0, 0.5, 0.25] and Hinge(10.0, 4.0)(5) == pytest.approx(1 / 11)
    for wrong in (lambda: Buffered(0), FedFix, lambda: FedFix(interval=0.0), lambda: FedFix(size=0), lambda: Anarchic(0), lambda: Polynomial(-1)):
        with pytest.raises(BadParameter, match=r"found"):
            wrong()


def test_a_strategy_that_waits_gives_the_same_bits_with_or_without_a_pause(tmp_path) -> None:
    def run(rounds: int, folder=None) -> Federation:
        strategy = Strategy(choose=Everyone(), aggregate=FedFix(interval=2.0), local=whole_batch())
        return simulate(model(), clients(5), strategy, rounds, world=World(speeds=Paces({f"c{i}": 0.7 + 1.3 * i for i in range(5)})), folder=folder)

    straight = run(8)
    run(3, tmp_path)
    assert same(run(8, tmp_path).weights, straight.weights)
