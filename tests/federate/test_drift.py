"""Terms against the drift of clients: what their papers claim, on least squares whose optimum is known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from loomweight.errors import BadParameter
from loomweight.federate import (
    Attack,
    ClientMomentum,
    ControlledPool,
    Federation,
    Pool,
    Proximal,
    Sample,
    Scaffold,
    Server,
    ServerOptimizer,
    StochasticControlled,
    Strategy,
    Task,
    Term,
    TopK,
    Trainer,
    World,
    scafcom,
    scallion,
    simulate,
)
from loomweight.rules import Mean, Median

from .drift import best, descent, line, quadratics
from .small import clients, deep, model, same, whole_batch

EVEN = Pool(counts=False)


def run(objective: Sequence[Term], rounds: int, steps: int = 5, count: int = 2, **hooks: object) -> Federation:
    strategy = Strategy(**{"objective": objective, "local": descent(steps, rate=0.2), "aggregate": EVEN, **hooks})
    return simulate(line(), quadratics(count), strategy, rounds)


def apart(found: Federation, count: int = 2) -> float:
    return (found.weights["weight"] - best(quadratics(count))).norm().item()


def test_proximal_of_0_is_plain_training_to_the_bit() -> None:
    plain = simulate(deep(), clients(), Strategy(), rounds=2)
    assert same(plain.weights, simulate(deep(), clients(), Strategy(objective=(Proximal(0.0),)), rounds=2).weights)


def test_proximal_solves_its_problem_whatever_mu() -> None:
    """After many steps a lone client is at the minimum of loss + mu/2 ||w - received||^2, which a formula gives; mu -> infinity stays."""
    data = {"c0": quadratics()["c0"]}
    for mu in (0.5, 3.0, 1e3):
        strategy = Strategy(objective=(Proximal(mu),), local=descent(200, rate=0.2))
        found = simulate(line(), data, strategy, rounds=1).weights["weight"]
        assert torch.allclose(found, best(data, pull=mu), atol=1e-9)  # the end of an iteration in float64
    still = simulate(line(), data, Strategy(objective=(Proximal(1e12),), local=descent(20)), rounds=1).weights["weight"]
    assert still.norm() < 1e-9  # the pull's rest is 1 / (rate mu)


def test_proximal_bounds_the_drift() -> None:
    """What the paper shows for clients that differ: with the pull, the fixed point is nearer to the optimum of all."""
    assert apart(run((Proximal(2.0),), 30)) < 0.7 * apart(run((), 30))


@pytest.mark.parametrize("option", [1, 2])
def test_scaffold_finds_the_optimum_where_averaging_drifts(option: int) -> None:
    assert apart(run((Scaffold(option),), 30)) < 1e-3 < 1 < apart(run((), 30))


def test_scaffold_finds_it_with_clients_that_are_asked_in_turn() -> None:
    assert apart(run((Scaffold(),), 60, count=4, choose=Sample(2)), 4) < 1e-3 < 1 < apart(run((), 30, count=4, choose=Sample(2)), 4)


class Books(Scaffold):
    """Notes the server's control variate and what clients say of theirs."""

    seen: ClassVar[list] = []

    @property
    def key(self) -> str:
        return "Scaffold"

    def pool(self, shared, ended):
        new = super().pool(shared, ended)
        self.seen.append((new["weight"], {reply.client: reply.extra["Scaffold"]["weight"] for reply in ended.replies}))
        return new


def test_the_server_s_control_is_the_mean_of_the_clients_whoever_is_asked() -> None:
    Books.seen.clear()
    run((Books(),), 12, count=5, choose=Sample(2))
    own: dict[str, torch.Tensor] = {}
    for common, changes in Books.seen:
        for client, change in changes.items():
            own[client] = own.get(client, 0) + change
        assert torch.allclose(common, sum(own.values()) / 5, atol=1e-12)  # float64 sums in another order
    assert len(own) == 5 and common.norm() > 0.1


def test_the_two_options_are_what_the_paper_says() -> None:
    """One round by hand, from c = 0: option 1 is the gradient at the received weights, option 2 (received - trained) / (steps rate)."""
    data, start = quadratics(1), line()
    inputs, targets = data["c0"]
    for option in (1, 2):
        Books.seen.clear()
        found = simulate(start, data, Strategy(objective=(Books(option),), local=descent(7)), rounds=1)
        gradient = (2 * inputs.T @ (inputs @ start.weight.T - targets) / len(inputs)).T if option == 1 else -found.weights["weight"] / (7 * 0.1)
        assert torch.allclose(Books.seen[0][0], gradient, atol=1e-12)  # float64


def test_momentum_of_1_is_plain_training_to_the_bit() -> None:
    plain = simulate(deep(), clients(), Strategy(), rounds=3)
    assert same(plain.weights, simulate(deep(), clients(), Strategy(objective=(ClientMomentum(1.0),)), rounds=3).weights)


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_client_momentum_is_the_paper_s_algorithm(rate: float) -> None:
    """Written out: g is the mean direction, w moves by the server's rate times rate * steps * g."""
    data, beta, steps = quadratics(), 0.3, 4
    found = simulate(line(), data, Strategy(objective=(ClientMomentum(beta),), local=descent(steps), aggregate=Pool(Mean(), rate=rate, counts=False)), rounds=5)
    weights, common = torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    for _ in range(5):
        ends = []
        for inputs, targets in data.values():
            own = weights
            for _ in range(steps):
                own = own - 0.1 * (beta * 2 / len(inputs) * (inputs @ own.T - targets).T @ inputs + (1 - beta) * common)
            ends.append(own)
        common = (weights - torch.stack(ends).mean(0)) / (0.1 * steps)
        weights = weights - rate * 0.1 * steps * common
    assert torch.allclose(found.weights["weight"], weights, atol=1e-12)  # float64


def test_client_momentum_takes_away_drift_with_a_constant_rate() -> None:
    """The paper's first claim: all clients take part, and no bound on how they differ is needed; plain averaging stays apart."""
    assert apart(run((ClientMomentum(0.1),), 60)) < 0.2 * apart(run((), 30))


def test_scaffold_m_is_the_two_terms_one_after_the_other() -> None:
    """beta (gradient - c_i + c) + (1 - beta) g, written out for two clients."""
    data, beta, steps = quadratics(), 0.5, 3
    found = run((Scaffold(), ClientMomentum(beta)), 4, steps=steps)
    weights, common, direction = (torch.zeros(1, 3, dtype=torch.float64) for _ in range(3))
    controls = {client: torch.zeros_like(common) for client in data}
    for _ in range(4):
        ends, new = [], {}
        for client, (inputs, targets) in data.items():
            own, seen = weights, []
            for _ in range(steps):
                seen.append(2 / len(inputs) * (inputs @ own.T - targets).T @ inputs)
                own = own - 0.2 * (beta * (seen[-1] - controls[client] + common) + (1 - beta) * direction)
            ends.append(own)
            new[client] = torch.stack(seen).mean(0)
        controls, common = new, torch.stack(list(new.values())).mean(0)
        direction = (weights - torch.stack(ends).mean(0)) / (0.2 * steps)
        weights = torch.stack(ends).mean(0)
    assert torch.allclose(found.weights["weight"], weights, atol=1e-12)  # float64
    assert apart(run((Scaffold(), ClientMomentum(beta)), 60)) < 1e-6


@pytest.mark.parametrize("make", [lambda strategy: scallion(strategy, 1.0), lambda strategy: scafcom(strategy, 1.0)])
@pytest.mark.parametrize("choose", [{}, {"choose": Sample(2)}])
def test_without_compression_controlled_averaging_is_scaffold_with_half_the_upload(make, choose) -> None:
    pool = Pool(Mean(), rate=0.7, counts=False)
    whole = run((Scaffold(),), 8, count=4, aggregate=pool, **choose)
    half = simulate(line(), quadratics(4), make(Strategy(local=descent(5, rate=0.2), aggregate=pool, **choose)), 8)
    assert torch.allclose(whole.weights["weight"], half.weights["weight"], atol=1e-12)  # float64, in another order
    replies = whole.history[0]["pooled"]
    assert whole.history[0]["bytes_up"] == replies * 2 * 24 and half.history[0]["bytes_up"] == replies * (24 + 8)  # the 8: rate * steps


def test_scafcom_bears_a_biased_message_and_reaches_the_optimum() -> None:
    """One of three entries is sent; the increments go to 0 and with them what is lost. The same message on plain averaging stays apart."""
    base = Strategy(local=descent(5, rate=0.2), message=(TopK(1 / 3),), aggregate=EVEN)
    plain, compressed = (simulate(line(), quadratics(), strategy, rounds) for strategy, rounds in ((base, 30), (scafcom(base, 0.8), 60)))
    assert apart(compressed) < 1e-5 < 1 < apart(plain)


def test_the_client_s_and_the_server_s_controls_stay_together_under_compression() -> None:
    """c is the mean of all c_i, each moved by what the server saw: the invariant that makes one increment enough."""
    strategy = scafcom(Strategy(local=descent(5), message=(TopK(1 / 3),), aggregate=EVEN, choose=Sample(2)), 0.4)
    data = quadratics(4)
    server, trainer = Server(line().state_dict(keep_vars=True), strategy, list(data)), Trainer(line(), strategy)
    memories: dict[str, dict] = {client: {} for client in data}
    for _ in range(9):
        for task in server.tasks():
            reply, memories[task.client] = trainer(data[task.client], task, memories[task.client])
            assert server.push(reply) is None
        server.close()
        controls = [memory["StochasticControlled"]["control"]["weight"] for memory in memories.values() if memory]
        assert torch.allclose(server.pooling["control"]["weight"], sum(controls) / 4, atol=1e-12)  # float64 sums in another order
        assert torch.equal(server.shared["StochasticControlled"]["weight"], server.pooling["control"]["weight"])


def test_a_robust_rule_pools_increments() -> None:
    strategy = scallion(Strategy(local=descent(3), aggregate=Median()))
    assert strategy.aggregate == ControlledPool(Pool(Median(), counts=False))
    assert simulate(line(), quadratics(3), strategy, 2).history[-1]["pooled"] == 3


def test_a_hostile_count_of_steps_does_not_scale_the_round() -> None:
    class Long(Attack):
        def forge(self, own, honest, draw):
            return replace(own, extra={key: {**extra, "span": torch.tensor(1e30, dtype=torch.float64)} for key, extra in own.extra.items()})

    for strategy in (scallion(Strategy(local=descent(3), aggregate=EVEN)), Strategy(objective=(ClientMomentum(0.5),), local=descent(3))):
        found = simulate(line(), quadratics(3), strategy, 4, world=World(attackers={"c1": Long()}))
        assert torch.allclose(found.weights["weight"], simulate(line(), quadratics(3), strategy, 4).weights["weight"])


def test_what_clients_send_for_a_term_may_lack_or_be_of_another_type() -> None:
    class Odd(Attack):
        def forge(self, own, honest, draw):
            return replace(own, extra={"Scaffold": {"weight": torch.ones(1, 3, dtype=torch.int64)}} if draw.random() < 0.5 else {})

    found = simulate(line(), quadratics(3), Strategy(objective=(Scaffold(),), local=descent(3)), 6, world=World(attackers={"c1": Odd()}))
    assert [line["pooled"] for line in found.history] == [3] * 6 and torch.isfinite(found.weights["weight"]).all()


def test_words_for_numbers_out_of_range() -> None:
    for make, words in (
        (lambda: Proximal(-1.0), "mu is at least 0, found -1.0"),
        (lambda: Scaffold(3), "options are 1 and 2, found 3"),
        (lambda: ClientMomentum(0.0), r"beta is in \(0, 1\], found 0.0"),
        (lambda: StochasticControlled(scale=2.0), r"in \(0, 1\], found 2.0 and 1.0"),
        (lambda: scallion(Strategy(aggregate=ServerOptimizer())), "pools with a Pool, found ServerOptimizer"),
    ):
        with pytest.raises(BadParameter, match=words):
            make()


def test_a_pooled_buffer_has_no_control_and_the_message_says_what_to_do() -> None:
    trainer = Trainer(deep(), scallion(Strategy()))
    data = clients(1)["c0"]
    server = Server(deep().state_dict(keep_vars=True), scallion(Strategy()), ["c0"])
    with pytest.raises(BadParameter, match=r"'1.running_mean' is pooled and not trained.*\{'1.running_mean': 'mean'\}"):
        trainer(data, Task("c0", 0, trainer.travelling(), server.shared), {})
    table = {"1.running_*": "mean"}
    found = simulate(deep(), clients(), scallion(Strategy(tensors=table, local=whole_batch())), 2)
    assert found.history[-1]["pooled"] == 3
    assert not same(found.weights, simulate(model(), clients(), Strategy(), 1).weights)
