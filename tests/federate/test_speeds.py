"""A world of slow and absent clients: the same whatever the order of the questions, and distributed as it says."""

import random
from collections.abc import Callable
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter, UnknownName
from loomweight.federate.speeds import Bernoulli, Markov, Periodic, Presence, Speeds, Straggle, chance

CLIENTS = [f"client {i:02d}" for i in range(5)]
PATTERNS: tuple[Presence, ...] = (Bernoulli(), Markov(0.05), Markov(0.9), Periodic(10))
each_pattern = pytest.mark.parametrize("presence", PATTERNS, ids=repr)


def answers(world: Speeds) -> dict[tuple[str, str, int], Callable[[], float]]:
    """Every question about some clients and rounds."""
    found: dict[tuple[str, str, int], Callable[[], float]] = {}
    for client in CLIENTS:
        for number in range(8):
            found["duration", client, number] = lambda c=client, n=number: world.duration(c, n, 5)
            found["present", client, number] = lambda c=client, n=number: world.present(c, n)
            found["fails", client, number] = lambda c=client, n=number: world.fails(c, n)
    return found


@given(presence=st.sampled_from(PATTERNS), seed=st.integers(0, 2**40), order=st.randoms(use_true_random=False), part=st.floats(0.1, 1.0))
def test_the_order_of_questions_does_not_matter(presence: Presence, seed: int, order: random.Random, part: float) -> None:
    def world() -> Speeds:
        return Speeds(seed, spread=0.7, absent=0.4, presence=presence, straggle=Straggle(0.2), failing=0.2, overhead=0.1)

    straight = {key: ask() for key, ask in answers(world()).items()}
    asked = list(answers(world()).items())
    order.shuffle(asked)
    asked = asked[: max(1, round(part * len(asked)))]
    assert {key: ask() for key, ask in asked} == {key: straight[key] for key, _ in asked}


def test_seeds_clients_and_numbers_differ() -> None:
    def seen(seed: int, client: str, begin: int = 0) -> list[bool]:
        return [Speeds(seed, absent=0.5).present(client, number) for number in range(begin, begin + 64)]

    assert len({tuple(seen(*case)) for case in ((0, "a"), (1, "a"), (0, "b"), (0, "a", 64))}) == 4


def test_chances_are_uniform_and_not_correlated() -> None:
    numbers = np.array([[chance(seed, "client", number) for number in range(100)] for seed in range(100)])
    # 10,000 uniform numbers: standard error of the mean 0.003, of the variance 0.0008, of a correlation 0.01; four of each
    assert numbers.mean() == pytest.approx(0.5, abs=0.012)
    assert numbers.var() == pytest.approx(1 / 12, abs=0.0032)  # four standard errors
    assert abs(np.corrcoef(numbers[:, 1:].ravel(), numbers[:, :-1].ravel())[0, 1]) < 0.04
    assert abs(np.corrcoef(numbers[1:].ravel(), numbers[:-1].ravel())[0, 1]) < 0.04


def test_speeds_are_log_normal() -> None:
    world = Speeds(3, spread=0.8, step=0.5)
    logs = np.sort(np.log([world.duration(f"c{i}", 0, 10) for i in range(2000)]))
    assert np.median(logs) == pytest.approx(np.log(5.0), abs=0.08)  # four standard errors: 1.25 * 0.8 / sqrt(2000)
    expected = np.array([NormalDist(np.log(5.0), 0.8).cdf(value) for value in logs])
    assert abs(expected - (np.arange(2000) + 0.5) / 2000).max() < 1.63 / np.sqrt(2000)  # Kolmogorov-Smirnov, 1 %
    assert world.duration("c1", 0, 10) == world.duration("c1", 9, 10)
    assert world.duration("c1", 0, 30) == pytest.approx(3 * world.duration("c1", 0, 10))


def test_some_tasks_straggle() -> None:
    world = Speeds(0, step={"a": 2.0}, overhead=1.0, straggle=Straggle(0.25, 8.0))
    found = [world.duration("a", number, 3) for number in range(1000)]
    assert set(found) == {7.0, 56.0}
    assert found.count(56.0) == pytest.approx(250, abs=55)  # four standard deviations of a binomial


@each_pattern
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_each_pattern_keeps_its_share(presence: Presence, share: float) -> None:
    rounds = [[Speeds(7, absent=1 - share, presence=presence).present(f"c{i}", number) for number in range(60)] for i in range(150)]
    # 150 clients on their own; within a client up to all 60 rounds may go together: four times sqrt(0.25 / 150)
    assert np.mean(rounds) == pytest.approx(share, abs=0.17 if 0 < share < 1 else 0.0)


def test_markov_is_the_chain_that_is_stepped_forward() -> None:
    """Second formula: go through the rounds one by one, as the paper's code does."""
    for comes, share in ((0.05, 0.3), (0.9, 0.2), (0.5, 0.8), (1.0, 0.5)):
        goes = comes * (1 / share - 1)
        comes_, goes_ = (comes, goes) if goes <= 1 else (comes / goes, 1.0)
        for client in range(20):
            there = chance(client, "presence", 0) < share
            for number in range(40):
                if number:
                    there = chance(client, "presence", number) < (1 - goes_ if there else comes_)
                assert Markov(comes).present(share, (client,), number) == there


def test_markov_stays_as_long_as_it_says() -> None:
    comes, share = 0.05, 0.3
    seen = np.array([[Markov(comes).present(share, (client,), number) for number in range(100)] for client in range(200)])
    came = seen[:, 1:][~seen[:, :-1]].mean()
    # some 14,000 rounds away: the standard error is 0.0018
    assert came == pytest.approx(comes, abs=0.0075)
    went = 1 - seen[:, 1:][seen[:, :-1]].mean()
    assert went == pytest.approx(comes * (1 / share - 1), abs=0.017)  # some 6,000 rounds there: 0.0042


@pytest.mark.parametrize(("cycle", "share", "there"), [(10, 0.4, 4), (10, 0.01, 1), (10, 0.99, 9), (2, 0.5, 1)])
def test_periodic_is_a_cycle(cycle: int, share: float, there: int) -> None:
    for client in range(20):
        seen = [Periodic(cycle).present(share, (client,), number) for number in range(3 * cycle)]
        assert seen[:cycle] == seen[cycle : 2 * cycle] and sum(seen[:cycle]) == there
        assert sum(a != b for a, b in pairwise(seen)) in (5, 6)  # one stretch a cycle
    assert len({tuple(Periodic(cycle).present(share, (client,), number) for number in range(cycle)) for client in range(40)}) == cycle - there


def test_tables_by_client() -> None:
    world = Speeds(step={"a": 1.0, "b": 3.0}, absent={"a": 0.0, "b": 1.0}, failing={"a": 1.0, "b": 0.0})
    assert (world.duration("a", 0, 2), world.duration("b", 0, 2)) == (2.0, 6.0)
    assert [world.present(c, 0) for c in "ab"] == [True, False] and [world.fails(c, 0) for c in "ab"] == [True, False]
    with pytest.raises(UnknownName, match="no client in the table `absent` of the speeds named 'c'; all: a, b"):
        world.present("c", 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Speeds(spread=-1.0), "spread lies between 0 and 100, found -1"),
        (lambda: Speeds(step={"a": 1.0}, spread=1.0), "spread lies between 0 and 0, found 1"),
        (lambda: Speeds(absent=1.5), "absent lies between 0 and 1, found 1.5"),
        (lambda: Speeds(failing={"a": float("nan")}), "failing lies between 0 and 1, found nan"),
        (lambda: Speeds(step=-1.0), "step lies between"),
        (lambda: Speeds(overhead=-1.0), "overhead lies between"),
        (lambda: Straggle(2.0), "probability lies between"),
        (lambda: Straggle(0.5, 0.5), "factor lies between"),
        (lambda: Markov(0.0), "comes lies between"),
        (lambda: Periodic(1), "cycle lies between"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        make()
