"""Which clients are asked: chances, turns, attendance, and an order by loss."""

import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from loomweight.errors import BadParameter, UnknownName
from loomweight.federate import Available, ByLoss, ByWeight, Choose, Cyclic, Everyone, Guard, Known, Local, Sample, Speeds, Strategy, World, simulate, split
from loomweight.federate.choosing.by_weight import inclusion
from loomweight.federate.partition import Iid

from .small import clients, model, same, whole_batch
from .test_world import digits, linear

NAMES = [f"c{i:02d}" for i in range(12)]
WEIGHTS = {name: float(i % 5) for i, name in enumerate(NAMES)}
NOTHING = Known({}, {})
EVERY: tuple[Choose, ...] = (
    Available(Speeds(absent=0.5), Sample(3)),
    Cyclic(5, Sample(2)),
    ByWeight(4, WEIGHTS),
    ByLoss(3, rounds=10),
    ByLoss(3, rounds=10, order="hard"),
    ByLoss(3, rounds=10, order="random"),
)


def draw(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


@pytest.mark.parametrize("choose", EVERY, ids=repr)
@given(number=st.integers(0, 40), seed=st.integers(0, 99), idle=st.sets(st.sampled_from(NAMES), min_size=1))
def test_each_client_once_of_those_that_are_idle_and_by_the_seed(choose: Choose, number: int, seed: int, idle: set[str]) -> None:
    known = Known({name: {"loss": WEIGHTS[name]} for name in NAMES[::2]}, {})
    chosen = choose.choose_knowing(number, sorted(idle), draw(seed), known)
    assert len(set(chosen)) == len(chosen) and set(chosen) <= idle and list(chosen) == sorted(chosen)
    assert list(choose.choose_knowing(number, sorted(idle), draw(seed), known)) == list(chosen)


@given(weights=st.lists(st.floats(0.01, 100) | st.just(0.0), min_size=1, max_size=12), count=st.integers(1, 14))
def test_inclusion_is_proportional_and_at_most_sure(weights: list[float], count: int) -> None:
    found, given_ = inclusion(np.array(weights), count), np.array(weights)
    assert found.sum() == pytest.approx(min(count, (given_ > 0).sum()))
    assert (found <= 1 + 1e-12).all() and not found[given_ == 0].any()  # a last bit of rounding
    partly = (found < 1) & (given_ > 0)
    if partly.any():
        rates = found[partly] / given_[partly]
        assert rates == pytest.approx(rates[0])
        assert (given_[found >= 1] * rates[0] >= 1 - 1e-9).all()  # who is surely asked would have come to 1 or more; rounding


def test_chances_are_those_of_the_weights_exactly_so_many_are_asked_and_the_plain_mean_is_unbiased() -> None:
    count, trials = 4, 4000
    choose, seen, means = ByWeight(count, WEIGHTS), Counter(), []
    for trial in range(trials):
        chosen = choose.choose(0, NAMES, draw(trial))
        assert len(chosen) == count
        seen.update(chosen)
        means.append(np.mean([NAMES.index(name) for name in chosen]))
    total = sum(WEIGHTS.values())
    for name, weight in WEIGHTS.items():
        assert seen[name] / trials == pytest.approx(count * weight / total, abs=0.032)  # four standard errors of a share of 4000
    expected = sum(weight * NAMES.index(name) for name, weight in WEIGHTS.items()) / total
    assert np.mean(means) == pytest.approx(expected, abs=4 * np.std(means) / math.sqrt(trials))  # four standard errors


def test_groups_take_turns_and_everybody_is_asked_once_a_cycle() -> None:
    chosen = [list(Cyclic(5).choose(number, NAMES, draw(0))) for number in range(10)]
    assert [len(group) for group in chosen[:5]] == [3, 3, 2, 2, 2]
    assert sorted(name for group in chosen[:5] for name in group) == NAMES and chosen[:5] == chosen[5:]
    assert [len(Cyclic(50).choose(number, ["a", "b"], draw(0))) for number in range(4)] == [1] * 4
    assert Cyclic(5, Sample(2)).concurrent(12) == 2


def test_who_is_away_is_not_asked() -> None:
    """The federation then loses nobody, and its history has the numbers of the speeds."""
    world = World(1, Speeds(5, absent=0.4))
    hooks = {"guard": Guard(few="skip"), "local": whole_batch()}
    asked = simulate(model(), clients(6), Strategy(choose=Available(Speeds(5, absent=0.4)), **hooks), 8, world=world)  # type: ignore[arg-type]
    there = [sum(Speeds(5, absent=0.4).present(client, number) for client in clients(6)) for number in range(8)]
    assert [line["pooled"] for line in asked.history] == [line["asked"] for line in asked.history] == there
    assert all(line["refused"] == {} for line in asked.history)
    unasked = simulate(model(), clients(6), Strategy(**hooks), 8, world=world)  # type: ignore[arg-type]
    assert [line["pooled"] for line in unasked.history] == there and same(asked.weights, unasked.weights)
    nobody = simulate(model(), clients(3), Strategy(choose=Available(Speeds(absent=1.0)), guard=Guard(few="skip")), 2)
    assert [(line["asked"], line["skipped"]) for line in nobody.history] == [(0, True)] * 2


def test_easy_or_hard_clients_first_and_all_of_them_later() -> None:
    known = Known({name: {"loss": float(i)} for i, name in enumerate(NAMES)}, {})

    def pool(order: str, number: int) -> set[str]:
        choose = ByLoss(2, rounds=10, begin=0.25, full=0.8, order=order)  # type: ignore[arg-type]
        return {name for seed in range(200) for name in choose.choose_knowing(number, NAMES, draw(seed), known)}

    assert pool("easy", 0) == set(NAMES[:3]) and pool("hard", 0) == set(NAMES[-3:]) and pool("random", 0) == set(NAMES)
    assert pool("easy", 4) == set(NAMES[:7]) and pool("hard", 4) == set(NAMES[-7:])  # 12 (0.25 + 0.75 / 2) = 7.5
    assert pool("easy", 8) == pool("hard", 9) == set(NAMES)


def test_the_unheard_come_first_and_nan_is_the_hardest() -> None:
    known = Known({"a": {"loss": 1.0}, "b": {"loss": math.nan}, "c": {"loss": 2.0}, "d": {"steps": 3.0}}, {})
    names = ["a", "b", "c", "d", "e"]
    for order, first in (("easy", {"d", "e"}), ("hard", {"d", "e"})):
        choose = ByLoss(2, rounds=10, begin=0.4, order=order)  # type: ignore[arg-type]
        assert set(choose.choose_knowing(0, names, draw(0), known)) == first
    heard = Known({name: known.metrics[name] for name in "abc"}, {})
    assert ByLoss(1, 10, 0.1, order="hard").choose_knowing(0, ["a", "b", "c"], draw(0), heard) == ["b"]
    assert ByLoss(2, 10, 0.5).choose_knowing(0, ["a", "b", "c"], draw(0), heard) == ["a", "c"]


def test_the_server_tells_what_clients_said_and_a_resumed_one_remembers(tmp_path: Path) -> None:
    data = clients(8)
    strategy = Strategy(choose=ByLoss(2, rounds=8, begin=0.25), local=Local(epochs=1, batch=4))
    straight = simulate(model(), data, strategy, 8, world=World(1))
    simulate(model(), data, strategy, 5, world=World(1), folder=tmp_path)
    pieces = simulate(model(), data, strategy, 8, world=World(1), folder=tmp_path)
    assert same(straight.weights, pieces.weights) and straight.history == pieces.history


def test_a_score_of_the_current_weights_orders_the_clients_as_the_paper_does() -> None:
    """Clients with more and more labels that are wrong: the curriculum asks the clean ones first, and the reverse the others."""
    train, test = digits()
    parts = split(train, Iid(), 10, seed=0)
    generator = torch.Generator().manual_seed(0)
    for i, (name, (x, y)) in enumerate(parts.items()):
        wrong = torch.rand(len(y), generator=generator) < i / 10
        parts[name] = (x, torch.where(wrong, torch.randint(10, y.shape, generator=generator), y))

    def score(weights: dict[str, torch.Tensor]) -> dict[str, float]:
        return {name: float(cross_entropy(x @ weights["weight"].T + weights["bias"], y)) for name, (x, y) in parts.items()}

    def run(order: str) -> tuple[float, float]:
        seen: list[list[float]] = []

        def noted(weights: dict[str, torch.Tensor]) -> dict[str, float]:
            losses = score(weights)
            seen.append(list(losses.values()))
            return losses

        strategy = Strategy(
            choose=ByLoss(2, rounds=12, begin=0.3, order=order, score=noted),  # type: ignore[arg-type]
            local=Local(epochs=3, batch=20, optimizer=partial(torch.optim.SGD, lr=0.3)),
        )
        world = World(test=lambda net: {"accuracy": float((net(test[0]).argmax(1) == test[1]).double().mean())})
        found = simulate(linear(), parts, strategy, 6, world=world)
        assert all(np.mean(losses[:5]) < np.mean(losses[5:]) for losses in seen[1:])  # clean labels are the easy ones
        return tuple(float(np.mean([line[name] for line in found.history[1:]])) for name in ("loss", "accuracy"))  # type: ignore[return-value]

    (easy_loss, easy), (hard_loss, hard) = run("easy"), run("hard")
    assert easy_loss < hard_loss - 0.5
    assert easy > hard


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Cyclic(0), BadParameter, "at least one group"),
        (lambda: ByWeight(0, WEIGHTS), BadParameter, "count is at least 1, found 0"),
        (lambda: ByWeight(1, {"a": -1.0}), BadParameter, "the weight of 'a' is negative or none"),
        (lambda: ByWeight(1, {"a": math.nan}), BadParameter, "the weight of 'a' is negative or none"),
        (lambda: ByWeight(1, {"a": 1.0}).choose(0, ["a", "b"], draw(0)), UnknownName, "no client in the weights named 'b'"),
        (lambda: ByLoss(0, 10), BadParameter, "count and rounds are at least 1"),
        (lambda: ByLoss(1, 10, begin=0.0), BadParameter, r"begin and full in \(0, 1\]"),
        (lambda: ByLoss(1, 10, order="soft"), BadParameter, "order is easy, hard or random"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises((error, TypeError) if "order" in message else error, match=None if "order" in message else message):
        make()


def test_nothing_known_is_no_obstacle() -> None:
    for choose in (Everyone(), *EVERY):
        assert list(choose.choose(3, NAMES, draw(1))) == list(choose.choose_knowing(3, NAMES, draw(1), NOTHING))
