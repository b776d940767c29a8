"""Workers that come and go: what they end with, who is named, what is waited for."""

import threading
import time

import pytest
import torch
from torch.distributed import HashStore

from loomweight.errors import BadParameter, WorkerDied
from loomweight.federate.lowcomm import DiLoCo, Exchange, LocalSGD, Members
from loomweight.rules import Median

from .workers import net, plain, same, state, together, train

QUICK = {"timeout": 20.0, "dead_after": 1.0}


class Gone(Exception):
    """Stands for the death of a worker."""


def worker(store, name, rounds, die_in=None, join=None, began=None, steps=2, model=net, rule=None, **settings):
    """Train until the run has had so many rounds; die without a word in the midst of one."""

    def body():
        if join is not None:
            assert join.wait(20)
        members = Members(store, name, **{**QUICK, **settings})
        mine = model(seed=sum(map(ord, name)))
        inner = torch.optim.AdamW(mine.parameters(), lr=0.02)
        diloco = DiLoCo(mine, inner, steps, members, **({"rule": rule} if rule else {}))
        step = 0
        while diloco.rounds < rounds:
            if die_in is not None and diloco.rounds == die_in and step % steps == steps - 1:
                members.heart.stop()
                members.line.group = members.line = None  # as the system does to a killed process
                return None
            train(mine, inner, sum(map(ord, name)), range(step, step + 1), diloco.step)
            step += 1
            if began is not None and diloco.rounds >= 1:
                began.set()
        members.leave()
        return {"weights": state(mine), "history": members.history, "outer": diloco.state_dict()["parts"], "rounds": diloco.rounds}

    return body


def alike(found) -> None:
    for other in found[1:]:
        assert same(found[0]["weights"], other["weights"])
        for mine, theirs in zip(found[0]["outer"], other["outer"], strict=True):
            assert same(mine["agreed"], theirs["agreed"])
            momenta = [[entry["momentum_buffer"] for entry in one["outer"]["state"].values()] for one in (mine, theirs)]
            assert all(left.equal(right) for left, right in zip(*momenta, strict=True)) and momenta[0]


def test_members_find_each_other_and_train_as_a_fixed_group_does() -> None:
    store = HashStore()
    found = together([worker(store, name, 3, fewest=3) for name in "abc"])
    alike(found)
    assert found[0]["history"] == [{"generation": 1, "members": found[0]["history"][0]["members"], "lost": []}]
    assert sorted(found[0]["history"][0]["members"]) == ["a", "b", "c"]


@pytest.mark.parametrize("rule", [None, Median()], ids=["sum", "gathered"])
def test_who_dies_costs_its_own_round_and_the_others_go_on_alike(rule) -> None:
    store = HashStore()
    begun = time.monotonic()
    found = together([worker(store, name, 4, die_in=2 if name == "b" else None, fewest=2, wished=3, rule=rule) for name in "abc"])
    assert found[1] is None
    alike([found[0], found[2]])
    history = found[0]["history"]
    assert [entry["lost"] for entry in history] == [[], ["b"]] and sorted(history[1]["members"]) == ["a", "c"]
    assert found[0]["rounds"] == 4 and time.monotonic() - begun < QUICK["timeout"]


def test_a_newcomer_has_the_weights_and_momenta_of_the_others_and_trains_with_them() -> None:
    store, began = HashStore(), threading.Event()

    def slowly(name):
        return worker(store, name, 60, fewest=2, began=began, steps=1)

    found = together([slowly("a"), slowly("b"), worker(store, "late", 60, join=began, steps=1)])
    alike(found)
    assert found[2]["history"][0]["generation"] == 2
    assert sorted(found[0]["history"][1]["members"]) == ["a", "b", "late"] and found[0]["history"][1]["lost"] == []


def test_with_too_few_left_it_waits_and_goes_on_when_somebody_comes() -> None:
    store, gone = HashStore(), threading.Event()

    def dies():
        worker(store, "b", 4, die_in=1, fewest=2)()
        gone.set()

    found = together([worker(store, "a", 4, fewest=2), dies, worker(store, "again", 4, join=gone, fewest=2)])
    alike([found[0], found[2]])
    assert [sorted(entry["members"]) for entry in found[0]["history"]] == [["a", "b"], ["a", "again"]]


def test_with_too_few_left_it_stops_and_says_whom_it_waited_for() -> None:
    store = HashStore()

    def lonely():
        with pytest.raises(WorkerDied, match=r"at least 2 workers are needed, and after 1 s there are 1: a; waited for b\. Start more workers, or allow fewer"):
            worker(store, "a", 4, fewest=2, timeout=1.0)()

    together([lonely, worker(store, "b", 4, die_in=1, fewest=2, timeout=1.0)])


def test_a_newcomer_whom_nobody_lets_in_says_whom_it_waited_for() -> None:
    store, over = HashStore(), threading.Event()

    def alone():
        worker(store, "a", 2)()
        over.set()

    def late():
        assert over.wait(20)
        with pytest.raises(WorkerDied, match=r"worker late was not let in within 1 s; waited for a: are they alive"):
            worker(store, "late", 2, timeout=1.0)()

    together([alone, late])


def test_a_slow_worker_that_the_others_gave_up_joins_again() -> None:
    """Its steps of that round are lost; it has their weights, and they have each other's again."""
    store, slept = HashStore(), []

    def body(name):
        members = Members(store, name, fewest=1, wished=2, timeout=1.0, dead_after=1.0)
        mine = plain()
        inner = torch.optim.SGD(mine.parameters(), lr=0.1)
        local = LocalSGD(mine, inner, 1, members)

        def over():
            """Five rounds after both are together again."""
            return members.roster.generation == 3 and local.rounds >= 5 + max(member.rounds for member in members.roster.members)

        while not over():
            if name == "slow" and local.rounds == 5 and not slept:
                slept.append(members.heart.stop())  # hangs, as a stopped process does
                while not store.check(["list/2"]):  # until the others have given it up
                    time.sleep(0.01)
            train(mine, inner, len(name), range(local.rounds, local.rounds + 1), local.step)
            time.sleep(0.01)
        members.leave()
        return state(mine), members.history

    (quick, history), (slow, _) = together([lambda: body("quick"), lambda: body("slow")])
    assert same(quick, slow)
    assert [entry["lost"] for entry in history] == [[], ["slow"], []] and sorted(history[2]["members"]) == ["quick", "slow"]


def test_fragments_and_newcomers() -> None:
    """A newcomer begins with the part whose turn it is."""
    store, began = HashStore(), threading.Event()

    def body(name):
        if name == "late":
            assert began.wait(20)
        members = Members(store, name, fewest=1, wished=1 if name == "late" else 2, **QUICK)
        mine = plain()
        inner = torch.optim.SGD(mine.parameters(), lr=0.05)
        local = LocalSGD(mine, inner, 4, members, exchange=Exchange(fragments=2))
        while local.rounds < 40:
            train(mine, inner, len(name), range(local.steps, local.steps + 1), local.step)
            if local.rounds >= 3:
                began.set()
        return {name: value.detach().clone() for part in local.parts for name, value in part.agreed.items()}, len(members.line.names)

    found = together([lambda name=name: body(name) for name in ("a", "bb", "late")])
    assert all(same(found[0][0], other[0]) for other in found) and {one[1] for one in found} == {3}


def test_a_store_that_is_gone_is_told() -> None:
    members = Members(HashStore(), "a", **QUICK)
    model = plain()
    local = LocalSGD(model, torch.optim.SGD(model.parameters(), lr=0.1), 1, members)

    class Broken:
        def add(self, key, amount):
            raise torch.distributed.DistNetworkError("connection reset by peer")

    members.store = Broken()
    with pytest.raises(WorkerDied, match=r"the store .* cannot be reached any more \(connection reset by peer\); start again from saved states"):
        members.agree(lambda line: line.rows([1.0]))
    members.heart.stop()
    assert local.rounds == 0


def test_another_model_is_refused_and_so_are_settings_out_of_range() -> None:
    store = HashStore()
    alone = Members(store, "a", **QUICK)
    LocalSGD(plain(), torch.optim.SGD(plain().parameters(), lr=0.1), 1, alone)
    with pytest.raises(BadParameter, match="worker b has another model or other settings than the run in this store"):
        LocalSGD(net(), torch.optim.SGD(net().parameters(), lr=0.1), 1, Members(store, "b"))
    two = HashStore()
    with pytest.raises(BadParameter, match="another worker of the run is named a; give each a name of its own"):
        together([worker(two, "a", 1, fewest=2)] * 2)
    alone.leave()
    with pytest.raises(BadParameter, match="fewest no more than wished"):
        Members(store, "c", fewest=3, wished=2)
