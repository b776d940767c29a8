"""Attacks: their definitions by another formula and by ByzFL's numbers, what the server says to bad replies, and rules under attack."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import loomweight.federate as federate
from loomweight.errors import BadParameter
from loomweight.federate import (
    Alie,
    AllNaN,
    Attack,
    Duplicate,
    Gaussian,
    Guard,
    HugeMessage,
    Infinite,
    InnerProduct,
    LabelFlip,
    Mimic,
    OneNaN,
    OptimalAlie,
    OptimalInnerProduct,
    Replay,
    Reply,
    SignFlip,
    Strategy,
    TooLarge,
    WeightLie,
    World,
    WrongDtype,
    WrongNames,
    WrongShape,
    simulate,
)
from loomweight.federate.attacks.strongest import Search
from loomweight.federate.report.robustness import moved as moved_by
from loomweight.rules import Mean, Median, MultiKrum, NearestNeighbourMixing, Rule, TrimmedMean

from .small import clients, model, same, whole_batch

#: seven honest updates of three entries
SEVEN = [[1, 0.2, -3.1], [1.3, 0.9, -2], [0.4, 1.1, -2.7], [2.2, -0.5, -1.9], [1.8, 0.3, -3.6], [0.7, 2.4, -2.2], [1.5, 0.6, -2.45]]
FORGED = [
    (SignFlip(), [-1.2714285714285716, -0.7142857142857143, 2.564285714285714]),
    (InnerProduct(2.0), [-2.542857142857143, -1.4285714285714286, 5.128571428571428]),
    (Alie(1.5), [2.2110333515660203, 2.0765317587704417, -1.6388996944462713]),
    (Mimic(2), [0.4, 1.1, -2.7]),
    (Infinite(), [float("inf")] * 3),
    (OptimalInnerProduct(TrimmedMean(2), 2), [-12.714285714285715, -7.142857142857143, 25.64285714285714]),
    (OptimalInnerProduct(Mean(), 2), [-6665934.7142857155, -3744907.1428571427, 13444216.642857142]),
    (OptimalAlie(TrimmedMean(2), 2), [7.535460439011561, 9.795926010850563, 3.604954417977238]),
    (OptimalAlie(Median(), 2), [7.535460439011561, 9.795926010850563, 3.604954417977238]),
]


def forge(attack: Attack, honest: list[list[float]], seed: int = 0, dtype: torch.dtype = torch.float64) -> Reply:
    """With two tensors, to which the columns are dealt."""
    updates = [{"a": torch.tensor(row[:1], dtype=dtype), "b": torch.tensor(row[1:], dtype=dtype), "count": torch.tensor(3)} for row in honest]
    return attack.forge(Reply("eve", 4, updates[0], weight=8.0), updates, np.random.default_rng(seed))


@pytest.mark.parametrize(("attack", "expected"), FORGED, ids=lambda value: repr(value)[:60])
def test_what_byzfl_forges(attack: Attack, expected: list[float]) -> None:
    """Values of byzfl 0.0.11 in float64, the optimal ones without pre-aggregation; integers stay as they are."""
    reply = forge(attack, SEVEN)
    found = torch.cat([reply.update["a"], reply.update["b"]])
    # sums in another order, in float64, times factors up to 5e6
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)
    assert reply.update["count"].item() == 3 and reply.client == "eve" and reply.weight == 8.0


def test_gaussian_draws_by_its_generator() -> None:
    one, again, other = (forge(Gaussian(1.0, 2.0), [[0.0] * 2001], seed).update["b"] for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    # two thousand draws: the mean is off by 0.045, the deviation by 0.03, one standard error each
    assert abs(float(one.mean()) - 1) < 0.2 and abs(float(one.std()) - 2) < 0.15


def test_where_nobody_honest_is_seen_an_attacker_has_itself() -> None:
    own = Reply("eve", 0, {"w": torch.tensor([2.0])})
    assert SignFlip().forge(own, [], np.random.default_rng(0)).update["w"].tolist() == [-2]
    assert Alie().forge(own, [], np.random.default_rng(0)).update["w"].tolist() == [2]


@pytest.mark.parametrize("attack", [attack for attack, _ in FORGED] + [Gaussian(), TooLarge(), AllNaN()], ids=repr)
def test_forged_tensors_have_the_dtype_of_honest_ones(attack: Attack) -> None:
    reply = forge(attack, SEVEN, dtype=torch.bfloat16)
    assert {tensor.dtype for name, tensor in reply.update.items() if name != "count"} == {torch.bfloat16}


@pytest.mark.parametrize("rule", [Mean(), Median(), MultiKrum(2), NearestNeighbourMixing(TrimmedMean(2), 2)], ids=repr)
def test_the_search_finds_a_factor_no_worse_than_the_usual_one(rule: Rule) -> None:
    honest = torch.randn(9, 30, generator=torch.Generator().manual_seed(0)) + 0.5

    def moved(attack: Attack) -> float:
        return moved_by(rule, attack, honest, 2, 0)

    assert moved(OptimalAlie(rule, 2)) >= max(moved(Alie(tau)) for tau in (0.0, 10.0)) * (1 - 1e-9)
    assert moved(OptimalInnerProduct(rule, 2)) >= max(moved(InnerProduct(tau)) for tau in (0.0, 10.0)) * (1 - 1e-9)


@pytest.mark.parametrize("attack", [OptimalAlie(Mean(), 2), OptimalInnerProduct(Mean(), 2)], ids=repr)
def test_a_search_leaves_out_updates_that_no_server_takes(attack: Attack) -> None:
    honest = [{"w": row} for row in torch.randn(4, 3, generator=torch.Generator().manual_seed(0))]
    broken, own = {"w": torch.tensor([1.0, float("nan"), float("inf")])}, Reply("eve", 0, {"w": torch.ones(3)})
    draw = np.random.default_rng(0)
    assert attack.forge(own, [broken, *honest], draw).update["w"].equal(attack.forge(own, honest, draw).update["w"])
    assert attack.forge(own, [broken, broken], draw) is own


def test_a_search_tries_as_often_as_it_says() -> None:
    tried: list[float] = []
    Search(tries=7, start=1.0, step=2.0).largest(lambda x: tried.append(x) or -abs(x - 7))  # steps 2, 4, 8, then shorter ones
    assert tried == [1, 3, 7, 15, 13.4, 12.12, 11.096] or (len(tried) == 7 and tried[:4] == [1, 3, 7, 15])


BAD = [
    (Infinite(), "nonfinite"),
    (OneNaN(), "nonfinite"),
    (AllNaN(), "nonfinite"),
    (WrongShape(), "shape"),
    (WrongNames(), "names"),
    (WrongDtype(), "dtype"),
    (HugeMessage(), "too-large"),
    (TooLarge(), "too-large"),
    (WeightLie(-1.0), "weight"),
    (WeightLie(float("nan")), "weight"),
    (WeightLie(float("inf")), "weight"),
    (Replay(), "old-round"),
    (Duplicate("c0"), "duplicate"),
    (Duplicate("mallory"), "unknown"),
]


@pytest.mark.parametrize(("attack", "code"), BAD, ids=repr)
def test_every_bad_reply_is_refused_named_and_counted(attack: Attack, code: str) -> None:
    """And the round goes on as if that client were not there."""
    guard = Guard(largest_bytes=10_000, largest_norm=1e6)
    strategy = Strategy(local=whole_batch(), guard=guard)
    found = simulate(model(), clients(4), strategy, rounds=2, world=World(attackers={"c3": attack}))
    assert [code in line["refused"] for line in found.history] == [True, True], found.history
    without = {name: data for name, data in clients(4).items() if name != "c3"}
    assert same(found.weights, simulate(model(), without, strategy, rounds=2).weights)


@pytest.mark.parametrize("attack", [SignFlip(), InnerProduct(), Alie(), Mimic(), Gaussian(), TooLarge(), LabelFlip(2)], ids=repr)
def test_what_looks_right_is_not_refused_and_a_robust_rule_stays_finite(attack: Attack) -> None:
    world = World(attackers={"c5": attack, "c6": attack})
    found = simulate(model(), clients(7), Strategy(local=whole_batch(), aggregate=MultiKrum(2)), rounds=2, world=world)
    assert [line["pooled"] for line in found.history] == [7, 7]
    assert all(torch.isfinite(tensor).all() and tensor.abs().max() < 10 for tensor in found.weights.values())


def test_a_lie_about_the_weight_is_cut() -> None:
    """At half of the weight the liar moves the mean as far as all others together, and no farther."""
    honest = simulate(model(), clients(4), Strategy(local=whole_batch()), rounds=1)
    lie = World(attackers={"c3": WeightLie()})
    believed, cut = (
        simulate(model(), clients(4), Strategy(local=whole_batch(), guard=Guard(largest_share=share)), rounds=1, world=lie) for share in (1.0, 0.5)
    )

    def away(found: federate.Federation) -> float:
        return sum(float((found.weights[name] - honest.weights[name]).norm()) for name in honest.weights)

    assert away(cut) < 0.8 * away(believed)


def test_labels_are_turned_round_where_the_client_trains() -> None:
    inputs, targets = torch.zeros(4, 2), torch.tensor([0, 1, 2, 2])
    assert LabelFlip().data((inputs, targets))[1].tolist() == [2, 1, 0, 0]
    assert LabelFlip(10).data((inputs, targets))[1].tolist() == [9, 8, 7, 7]
    with pytest.raises(BadParameter, match="labels round, which are whole numbers; the targets are float32"):
        LabelFlip().data((inputs, inputs))
    flipped = {name: (x, 1 - y) if name == "c1" else (x, y) for name, (x, y) in clients(3).items()}
    by_hand = simulate(model(), flipped, Strategy(local=whole_batch()), rounds=2)
    assert same(simulate(model(), clients(3), Strategy(local=whole_batch()), rounds=2, world=World(attackers={"c1": LabelFlip(2)})).weights, by_hand.weights)


def test_honest_replies_are_left_as_they_are() -> None:
    updates = [{"w": torch.arange(3.0)} for _ in range(3)]
    own = Reply("eve", 1, {"w": torch.ones(3)})
    for attack in [attack for attack, _ in FORGED] + [attack for attack, _ in BAD] + [Gaussian(), TooLarge()]:
        attack.forge(replace(own), updates, np.random.default_rng(0))
    assert all(torch.equal(update["w"], torch.arange(3.0)) for update in updates) and torch.equal(own.update["w"], torch.ones(3))
