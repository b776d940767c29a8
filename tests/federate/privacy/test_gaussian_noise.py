"""Noise on a sum of clipped updates: how much, on what, what it costs, and what is refused."""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from loomweight.errors import BadParameter
from loomweight.federate import (
    AdaptiveClip,
    ClientNoise,
    Correlated,
    GaussianNoise,
    Guard,
    Local,
    Participation,
    PoissonSample,
    Pool,
    Reply,
    Rota,
    Sample,
    Server,
    ServerOptimizer,
    Strategy,
    Task,
    Term,
    World,
    epsilon,
    private,
    resumed,
    simulate,
    state_of_server,
)
from loomweight.federate.privacy.clipping import total_norm
from loomweight.rules import Krum, Median

from ..small import clients, model, same

NAMES = [f"c{i}" for i in range(8)]
SIZE = 20_000


def round_of(server: Server, updates: dict[str, Tensor], weight: float = 1.0) -> dict:
    for task in server.tasks():
        if task.client in updates:
            server.push(Reply(task.client, task.round, {"w": updates[task.client]}, weight))
    return server.close()


def served(aggregate: GaussianNoise, size: int = SIZE, **updates: Tensor) -> tuple[Tensor, dict]:
    server = Server({"w": torch.zeros(size)}, Strategy(aggregate=aggregate, guard=Guard(few="skip")), NAMES)
    line = round_of(server, updates or {name: torch.zeros(size) for name in NAMES})
    return server.weights["w"], line


@pytest.mark.parametrize(("multiplier", "clip", "expected"), [(1.0, 2.0, 8), (0.3, 0.5, 4)])
def test_the_noise_on_the_mean_is_as_large_as_it_says(multiplier: float, clip: float, expected: float) -> None:
    moved, line = served(GaussianNoise(multiplier, clip, expected, seed=1))
    # 2.5 %: five standard errors of a deviation of 20,000 draws, 1 / sqrt(2 * 20000) = 0.5 %
    assert float(moved.std()) == pytest.approx(multiplier * clip / expected, rel=0.025)
    assert line["noise"] == pytest.approx(multiplier * clip / expected, rel=1e-12)  # rounding
    assert abs(float(moved.mean())) < 5 * line["noise"] / sqrt(SIZE)


updates = st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3)


@given(updates, st.lists(updates, min_size=0, max_size=5), st.floats(0.01, 100), st.floats(0, 50))
def test_one_client_moves_the_sum_by_no_more_than_the_clip(own: list[float], others: list[list[float]], clip: float, examples: float) -> None:
    """The sensitivity, whatever a client sends and however many examples it says it has."""
    aggregate = GaussianNoise(0.0, clip, expected=1, whole=10.0, delta=None)
    sums = []
    for sent in (others, [*others, own]):
        held: dict = {}
        for update in sent:
            aggregate.add(held, Reply("x", 0, {"w": torch.tensor(update, dtype=torch.float64)}, weight=examples), {})
        sums.append(held.get("sum", {"w": torch.zeros(3, dtype=torch.float64)})["w"])
    assert total_norm({"w": sums[1] - sums[0]}) <= clip * (1 + 1e-9)  # rounding of float64 sums


def test_without_noise_and_with_room_it_is_the_mean_of_all() -> None:
    sent = {name: torch.full((3,), float(i)) for i, name in enumerate(NAMES)}
    moved, _ = served(GaussianNoise(0.0, 1e9, expected=8, delta=None), 3, **sent)
    assert torch.equal(moved, torch.full((3,), 3.5))


def test_examples_count_up_to_a_whole_client() -> None:
    aggregate = GaussianNoise(0.0, 1.0, expected=1, whole=20.0, delta=None)
    factors = [aggregate.factor(Reply("x", 0, {"w": torch.tensor([0.5])}, weight), 1.0) for weight in (5.0, 20.0, 1e9)]
    assert factors == [0.25, 1.0, 1.0]


def test_a_client_who_does_not_clip_is_clipped() -> None:
    moved, _ = served(GaussianNoise(0.0, 1.0, expected=1, delta=None), 1, c0=torch.tensor([1e6]))
    assert moved.item() == 1.0


def test_the_denominator_does_not_depend_on_who_answers() -> None:
    moved, _ = served(GaussianNoise(0.0, 9.0, expected=8, delta=None), 1, c0=torch.tensor([8.0]))
    assert moved.item() == 1.0


def test_rounds_have_their_own_noise_and_a_seed_repeats_it() -> None:
    def run(seed: int | None) -> list[Tensor]:
        server = Server({"w": torch.zeros(1000)}, Strategy(aggregate=GaussianNoise(1.0, 1.0, 8, seed=seed)), NAMES)
        found = []
        for _ in range(2):
            round_of(server, {name: torch.zeros(1000) for name in NAMES})
            found.append(server.weights["w"].clone())
        return found

    first, again, unknown, other = run(3), run(3), run(None), run(None)
    assert same({"a": first[0], "b": first[1]}, {"a": again[0], "b": again[1]})
    assert not torch.equal(unknown[0], other[0])
    steps = torch.stack([first[0], first[1] - first[0]])
    assert abs(float(torch.corrcoef(steps)[0, 1])) < 0.16  # five standard errors of 1,000 draws


def test_epsilon_of_each_round_is_in_the_history_and_a_skipped_round_costs_nothing() -> None:
    server = Server({"w": torch.zeros(3)}, Strategy(aggregate=GaussianNoise(1.5, 1.0, 8, seed=0), guard=Guard(few="skip")), NAMES)
    everyone = {name: torch.zeros(3) for name in NAMES}
    lines = [round_of(server, sent) for sent in (everyone, {}, everyone)]
    assert [line.get("epsilon") for line in lines] == [epsilon([(1.5, 1.0, 1)], 1e-5), None, epsilon([(1.5, 1.0, 2)], 1e-5)]


def test_a_server_optimizer_gets_the_noised_mean() -> None:
    sent = {name: torch.full((3,), 4.0) for name in NAMES}
    moved, _ = served(GaussianNoise(0.0, 100.0, 8, ServerOptimizer(partial(torch.optim.SGD, lr=0.5)), delta=None), 3, **sent)
    assert torch.equal(moved, torch.full((3,), 2.0))


@pytest.mark.parametrize("then", [Pool(Median()), Pool(Krum(1)), ServerOptimizer(pooled=Pool(Median()))], ids=repr)
def test_a_rule_that_has_to_see_single_updates_is_refused(then: Pool) -> None:
    with pytest.raises(BadParameter, match="noise protects only their sum"):
        GaussianNoise(1.0, 1.0, 8, then)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"multiplier": -1.0}, "multiplier is not negative"),
        ({"clip": 0.0}, "clip, expected and whole are positive"),
        ({"expected": 0}, "clip, expected and whole are positive"),
        ({"rate": 0.0}, "rate is in"),
        ({"whole": -3.0}, "clip, expected and whole are positive"),
        ({"correlated": Correlated(Participation(4)), "rate": 0.5}, "does not go with correlated noise"),
        ({"correlated": Correlated(Participation(4)), "clip": AdaptiveClip()}, "clip adapts, which does not go"),
        ({"added_by": "clients", "whole": 3.0}, "all count alike"),
        ({"clip": AdaptiveClip(noise=0.1)}, "has to be above 0.5"),
        ({"delta": 2.0}, "delta and rates are within 0 and 1"),
    ],
)
def test_what_breaks_the_bound_is_refused(options: dict, words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        GaussianNoise(**{"multiplier": 1.0, "clip": 1.0, "expected": 8, **options}).start({})


def test_the_clip_adapts_over_rounds_to_the_median_of_the_norms() -> None:
    sent = {name: torch.tensor([float(i + 1)]) for i, name in enumerate(NAMES)}
    adaptive = AdaptiveClip(start=0.1, rate=0.5, noise=0.6)
    server = Server({"w": torch.zeros(1)}, Strategy(aggregate=GaussianNoise(1.0, adaptive, 8, seed=0)), NAMES)
    clips = [round_of(server, sent)["clip"] for _ in range(60)]
    assert clips[0] == 0.1
    assert 3.5 < float(np.median(clips[20:])) < 5.5  # half of 1..8 lies below 4.5


def test_shares_of_noise_by_clients_sum_to_the_whole_and_fewer_clients_cost_more() -> None:
    message = ClientNoise(multiplier=2.0, clip=1.0, clients=8)
    strategy = Strategy(message=(message,), aggregate=GaussianNoise(2.0, 1.0, 8, added_by="clients"), guard=Guard(few="skip"))
    server = Server({"w": torch.zeros(SIZE)}, strategy, NAMES)
    round_of(server, {name: message.pack({"w": torch.zeros(SIZE)}, None)["w"] for name in NAMES})
    # 2.5 %: five standard errors of a deviation of 20,000 draws
    assert float(server.weights["w"].std()) == pytest.approx(2.0 / 8, rel=0.025)
    assert server.history[-1]["epsilon"] == epsilon([(2.0, 1.0, 1)], 1e-5)
    assert strategy.pooling.sums and not GaussianNoise(1.0, 1.0, 8).sums
    line = round_of(server, {name: torch.zeros(SIZE) for name in NAMES[:2]})
    assert line["epsilon"] == epsilon([(2.0, 1.0, 1), (1.0, 1.0, 1)], 1e-5)  # a quarter of the variance, half the deviation


def test_noise_of_a_client_is_secret_unless_it_repeats_an_experiment() -> None:
    @dataclass
    class Works:
        task: Task

    def noised(*, secret: bool) -> Tensor:
        return ClientNoise(1.0, 1.0, secret=secret).pack({"w": torch.zeros(50)}, Works(Task("ann", 0, {}, seed=4)))["w"]

    assert torch.equal(noised(secret=False), noised(secret=False))
    assert not torch.equal(noised(secret=True), noised(secret=True))


def test_correlated_noise_leaves_less_error_in_the_weights_at_the_same_privacy() -> None:
    """The weights after each round are prefix sums; the measured error is that of the formula."""
    plan = Participation(8, 8, exact=True)
    errors = {}
    for correlated in (None, Correlated(plan)):
        aggregate = GaussianNoise(1.0, 1.0, 1, correlated=correlated, seed=2)
        server = Server({"w": torch.zeros(SIZE // 4)}, Strategy(choose=Rota(8), aggregate=aggregate), NAMES)
        lines, error = [], 0.0
        for _ in range(8):
            lines.append(round_of(server, {name: torch.zeros(SIZE // 4) for name in NAMES}))
            error += float(server.weights["w"].square().mean())
        errors[correlated] = error
    # 5 %: 5,000 draws of a sum of correlated squares
    assert errors[Correlated(plan)] == pytest.approx(Correlated(plan).error, rel=0.05)
    assert errors[Correlated(plan)] < 0.6 * errors[None]
    assert {line["epsilon"] for line in lines} == {epsilon([(1.0, 1.0, 1)], 1e-5)}  # of the whole run


def test_correlated_noise_refuses_a_client_in_a_round_that_it_may_not_be_in() -> None:
    aggregate = GaussianNoise(1.0, 1.0, 1, correlated=Correlated(Participation(4, 2)))
    server = Server({"w": torch.zeros(2)}, Strategy(aggregate=aggregate), NAMES)
    round_of(server, {name: torch.zeros(2) for name in NAMES})
    with pytest.raises(BadParameter, match=r"client 'c0' answered in rounds 0, 1"):
        round_of(server, {name: torch.zeros(2) for name in NAMES})


@pytest.mark.parametrize(
    "aggregate",
    [
        GaussianNoise(0.5, AdaptiveClip(noise=2.0), 3, ServerOptimizer(torch.optim.Adam), seed=None),
        GaussianNoise(0.5, 1.0, 1, correlated=Correlated(Participation(4, 3))),
    ],
    ids=["adaptive", "correlated"],
)
def test_a_server_goes_on_from_its_state_to_the_same_bits(aggregate: GaussianNoise) -> None:
    strategy = Strategy(choose=Rota(3), aggregate=aggregate)
    names, weights = NAMES[:3], {"w": torch.zeros(5)}
    server = Server(weights, strategy, names)
    sent = {name: torch.full((5,), i + 1.0) for i, name in enumerate(names)}
    round_of(server, sent)
    other = resumed(weights, strategy, deepcopy(state_of_server(server)))
    for _ in range(2):
        assert round_of(server, sent) == round_of(other, sent)
        assert torch.equal(server.weights["w"], other.weights["w"])


class Sends(Term):
    """A term that sends something of the client."""

    def finish(self, work: object) -> dict[str, Tensor]:
        return {"mean": torch.zeros(1)}


@pytest.mark.parametrize(
    ("strategy", "noise", "words"),
    [
        (Strategy(objective=(Sends(),)), {}, "the term Sends may send"),
        (Strategy(tensors={"*running*": "mean"}), {}, r"'\*running\*' travel by themselves"),
        (Strategy(choose=Sample(0.5)), {"rate": 0.5}, r"choose=PoissonSample\(0.5\)"),
        (Strategy(choose=PoissonSample(0.6)), {"rate": 0.5}, "asked with probability 0.5"),
        (Strategy(), {"added_by": "clients"}, "no ClientNoise"),
        (Strategy(message=(ClientNoise(1.0, 2.0, 8),)), {"added_by": "clients"}, "have to be the same"),
        (Strategy(guard=Guard(largest_share=0.5)), {"whole": 9.0}, "largest_share"),
        (Strategy(aggregate=Median()), {}, "noise protects only their sum"),
    ],
)
def test_what_goes_round_the_noise_is_refused(strategy: Strategy, noise: dict, words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        private(strategy, GaussianNoise(1.0, 1.0, 8, **noise))


def test_a_private_federation_learns_and_says_what_it_spent() -> None:
    local = Local(steps=3, batch=16, optimizer=partial(torch.optim.SGD, lr=0.3))
    strategy = private(Strategy(choose=PoissonSample(0.5), local=local), GaussianNoise(0.5, 0.5, expected=10, rate=0.5, seed=0))
    data = clients(20)
    found = simulate(model(), data, strategy, rounds=15, world=World(seed=1))
    inputs, targets = (torch.cat(parts) for parts in zip(*data.values(), strict=True))
    before, after = (float((net(inputs).argmax(1) == targets).float().mean()) for net in (model(), found.model))
    assert after > before + 0.2
    spent = [line["epsilon"] for line in found.history]
    assert spent == sorted(spent) and spent[-1] == epsilon([(0.5, 0.5, 15)], 1e-5)
