"""MoDeST: samples that nobody announces, joins, leaves, crashes."""

import pytest
import torch

from loomweight.errors import BadParameter
from loomweight.federate import Federation, Modest, Strategy, World, modest
from loomweight.federate.peers import Peer, View, ordered

from ..pace import Paces, Point, drawn_to, steps

NAMES = [f"n{i}" for i in range(8)]


def run(rounds: int = 6, **how: object) -> Federation:
    data, world = drawn_to(**dict.fromkeys(NAMES, 1.0)), World(speeds=Paces(dict.fromkeys(NAMES, 2.0)))
    return modest(Point(), data, Strategy(local=steps(0.5)), rounds, Modest(sample=3, **how), world)


def test_every_node_derives_the_same_sample() -> None:
    one, other = View({"a": Peer(3), "b": Peer(1, 2, there=False)}), View({"b": Peer(4, 1), "c": Peer(5)})
    both = one.merged(other)
    assert both.peers == other.merged(one).peers == both.merged(one).merged(both).peers == {"a": Peer(3), "b": Peer(4, 2, there=False), "c": Peer(5)}
    assert both.candidates(6, 20) == other.merged(one).candidates(6, 20) == ordered(["c", "a"], 6)
    found = run()
    assert [line["sample"] for line in found.history] == [ordered(NAMES, number)[:3] for number in range(6)]  # computed apart
    assert len({tuple(line["sample"]) for line in found.history}) > 3 and found.weights["at"].item() == pytest.approx(1 - 0.5**6)


def test_a_crashed_aggregator_costs_at_most_a_time_out() -> None:
    first = ordered(NAMES, 3)
    plain, one, both = run(), run(crashes={first[0]: 3}), run(crashes={first[0]: 3, first[1]: 3})
    assert [line["time"] for line in plain.history] == [2.0 * (i + 1) for i in range(6)]
    assert one.history[2]["time"] == plain.history[2]["time"] and one.history[2]["aggregators"] == [first[1]]
    assert both.history[2]["time"] == plain.history[2]["time"] + 10 and torch.equal(both.weights["at"], plain.weights["at"])  # the round is not lost
    assert not {first[0], first[1]} & {name for line in both.history[3:] for name in line["sample"]}


def test_nodes_join_and_leave() -> None:
    found = run(8, joins={"n7": 4}, leaves={"n0": 2})
    samples = [set(line["sample"]) for line in found.history]
    assert all("n7" not in sample for sample in samples[:4]) and all("n0" not in sample for sample in samples[2:])
    assert [line["sample"] for line in found.history[4:]] == [ordered(NAMES[1:], number)[:3] for number in range(4, 8)]
    assert [line["time"] for line in found.history] == [2.0 * (i + 1) for i in range(8)]  # whoever says that it goes costs no ping


def test_most_nodes_may_fall_silent() -> None:
    """Six of eight, as in the paper's last claim of 80 per cent: rounds go on, slower by the pings, and later without them."""
    found = run(12, crashes=dict.fromkeys(NAMES[2:], 2), window=4)
    assert found.weights["at"].item() > 0.99 and set(found.history[-1]["sample"]) == {"n0", "n1"}
    assert found.history[-1]["time"] - found.history[-2]["time"] == 2.0  # nobody is pinged in vain any more
    with pytest.raises(BadParameter, match=r"answers|lives"):
        run(4, crashes=dict.fromkeys(NAMES, 2))
