"""Find within limits: nothing beyond them is evaluated, nothing twice; failures have names; a search resumes, and only as the same search."""

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from loomweight.engines import Threads
from loomweight.errors import BadParameter, NonFinite, UnknownName
from loomweight.search import EMARS, Budget, Float, LocalMutation, Ordered, RegularisedEvolution, Space, Values, find
from loomweight.supernet import elastic
from tests.search.networks import CELL, NET, after_12_epochs, size


@dataclass
class Net:
    """A net whose costs are formulas, and which counts what is asked of it."""

    space: Space = NET
    asked: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)

    def cost(self, values: Values, /) -> Any:
        self.asked[str(values)] += 1
        return SimpleNamespace(params=size(values) ** 2, layers=values["depth"])

    def worth(self, values: Values) -> float:
        self.judged[str(values)] += 1
        return size(values) + (1 if values["op"] == "skip" else 0)


SAMPLERS = ["random", "tpe", "nsga2", "evolution", "mutation", "bandit"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_keeps_the_limits_and_finds_the_best_within_them(sampler: str) -> None:
    """Fewer than one in ten keep them. The truth is found by looking at all; nothing is evaluated or costed twice."""
    net = Net()
    within = [values for values in NET.enumerate() if 3600 <= size(values) ** 2 <= 5000 and values["depth"] >= 2]
    assert 5 < len(within) < NET.count() / 10
    found = find(net, net.worth, subject_to={"params": ">= 3600, <= 5000", "layers": ">= 2"}, budget=Budget(16, sampler, seed=1))
    assert all(str(values) in set(map(str, within)) for values in (trial.parameters for trial in found.trials))
    assert found.best.values[0] == max(net.worth(values) for values in within)
    assert max(net.asked.values()) == 1


def test_limits_as_tight_as_one_configuration_are_met() -> None:
    """`nearest` gets there from anywhere, in a space of 3^40, by mutations alone or by setting field after field."""
    space = Space({f"x{i}": Ordered((1, 2, 4)) for i in range(40)})
    net = SimpleNamespace(space=space, cost=lambda values: {"sum": sum(values.values())})
    found = find(net, lambda values: values["x0"], subject_to={"sum": "<= 40"}, budget=3)
    assert [set(trial.parameters.values()) for trial in found.trials] == [{1}] * 3


def test_an_architecture_is_evaluated_once_and_all_are_reached() -> None:
    net = Net()
    found = find(net, net.worth, subject_to={"layers": "<= 1"}, budget=Budget(40, "evolution"))
    assert sum(net.judged.values()) == len(net.judged) == 12
    assert len(found.trials) == 40


def test_nothing_feasible_says_what_came_nearest_before_anything_is_evaluated() -> None:
    net = Net()
    smallest = min(size(values) ** 2 for values in NET.enumerate())
    with pytest.raises(
        BadParameter, match=rf"no architecture was found with params <= 10, .* the smallest params seen is {smallest:g} \(depth = 1, width1 = 8, op"
    ):
        find(net, net.worth, subject_to={"params": "<= 10"})
    with pytest.raises(BadParameter, match=r"with layers <= 1 and params >= 1e\+06, .*the largest params seen is "):
        find(net, net.worth, subject_to={"layers": "<= 1", "params": ">= 1e6"})
    assert not net.judged


def test_a_measured_cost_is_asked_for_only_where_the_others_hold() -> None:
    measured: list[Values] = []

    class Timed:
        def __init__(self, values: Values) -> None:
            self.params, self._values = size(values), values

        @property
        def latency_ms(self) -> float:
            measured.append(self._values)
            return 1.0

    net = SimpleNamespace(space=NET, cost=Timed)
    find(net, size, subject_to={"params": "<= 40", "latency_ms": "<= 2"}, budget=Budget(30, "random"))
    assert measured and all(size(values) <= 40 for values in measured)


def test_a_front_of_worth_and_costs() -> None:
    """Three objectives, one of them a cost: the front is the one that comparing all pairs gives."""
    net = Net()
    found = find(net, {"worth": net.worth, "narrow": lambda v: -v["width1"]}, minimise=("params",), budget=Budget(50, "nsga2", seed=2))
    rows = np.array([(-trial.values[0], -trial.values[1], trial.values[2]) for trial in found.trials])
    better = [[bool((a <= b).all() and (a < b).any()) for a in rows] for b in rows]
    unbeaten = [found.trials[i] for i, beaten in enumerate(better) if not any(beaten)]
    assert {str(trial.parameters) for trial in found.front} == {str(trial.parameters) for trial in unbeaten}
    assert len({str(trial.parameters) for trial in found.front}) == len(found.front)
    assert all(trial.values[2] == found.cost(trial).params for trial in found.trials)
    with pytest.raises(BadParameter, match="no best trial of 3 objectives"):
        _ = found.best


def test_the_front_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    net = Net()
    found = find(net, {"worth": net.worth}, minimise={"area": size}, budget=12)
    assert found.plot(tmp_path / "front.png").stat().st_size > 5000


def test_failures_have_names_and_cost_their_trial_alone() -> None:
    def fragile(values: Values) -> float:
        if values["op"] == "skip":
            return float("nan")
        if values["op"] == "pool":
            raise NonFinite("layer 3 has NaN")
        return size(values)

    found = find(Net(), {"accuracy": fragile}, budget=Budget(40, "evolution"))
    reasons = Counter(trial.failure for trial in found.trials if trial.failure)
    assert set(reasons) == {"objective 'accuracy' is NaN", "NonFinite: layer 3 has NaN"}
    assert found.best.parameters["op"] == "conv"


@pytest.mark.parametrize("sampler", ["evolution", "tpe"])
def test_threads_find_what_one_by_one_finds(sampler: str) -> None:
    """What is tried depends on how many are tried at once, not on where."""

    def trials(engine: Threads | None) -> Any:
        return find(Net(), size, subject_to={"params": "<= 5000"}, budget=Budget(16, sampler, at_once=4), engine=engine).trials

    assert trials(Threads(2)) == trials(None)


PROGRAM = """
import sys, time
from tests.search.test_find import Net
from loomweight.search import Budget, find
net = Net()
def slow(values):
    print(sum(net.judged.values()), flush=True)
    time.sleep(0.02)
    return net.worth(values)
find(net, slow, subject_to={"params": "<= 9000"}, budget=Budget(40, "evolution", seed=3), storage=sys.argv[1])
"""


def test_killed_for_real_it_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    path = tmp_path / "study"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    while int(process.stdout.readline()) < 12:
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    net = Net()

    def search(storage: Path | None) -> Any:
        return find(net, net.worth, subject_to={"params": "<= 9000"}, budget=Budget(40, "evolution", seed=3), storage=storage)

    whole = search(None)
    before = sum(net.judged.values())
    assert search(path).trials == whole.trials
    assert sum(net.judged.values()) - before < before - 8


@pytest.mark.parametrize(("sampler", "space"), [("tpe", NET), ("nsga2", NET), ("cmaes", Space({f"width{i}": Float(8, 64) for i in (1, 2)}))])
def test_proposals_passed_over_are_gone_through_again(tmp_path: Path, sampler: str, space: Space) -> None:
    """Optuna's samplers count what they suggested, so a file cut anywhere has to lead them past the same refused suggestions."""
    net = SimpleNamespace(space=space, cost=lambda v: {"sum": v["width1"] + v["width2"]})

    def search(storage: Path) -> Any:
        return find(net, lambda v: v["width1"] * v["width2"], subject_to={"sum": "<= 60"}, budget=Budget(14, sampler, seed=4), storage=storage).trials

    truth = search(tmp_path / "whole")
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    assert any(b"passed" in line for line in lines[:12])
    for cut in (4, 13, 22):
        (tmp_path / f"cut{cut}").write_bytes(b"".join(lines[:cut]))
        assert search(tmp_path / f"cut{cut}") == truth


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"subject_to": {"params": "<= 6000"}}, "its within is"),
        ({"subject_to": None}, "its within is"),
        ({"budget": Budget(5, "mutation")}, r"its sampler is 'RegularisedEvolution\(.*not 'LocalMutation"),
        ({"minimise": ("params",), "budget": Budget(5, "tpe")}, "its objectives is"),
        ({"maximise": {"other": size}}, "its objectives is"),
    ],
)
def test_another_search_does_not_go_on_there(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    same = {"maximise": {"worth": size}, "subject_to": {"params": "<= 5000"}, "budget": Budget(5, RegularisedEvolution()), "storage": tmp_path / "s"}
    find(Net(), **same)
    with pytest.raises(BadParameter, match=f"holds another study: {words}"):
        find(Net(), **(same | change))
    wider = Space({**NET.dimensions, "width1": Ordered((8, 16, 32, 64, 128))}, NET.depends)
    with pytest.raises(BadParameter, match="holds another study: its space is"):
        find(Net(wider), **same)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"subject_to": {"parms": "<= 5"}}, UnknownName, "no cost named 'parms'; nearest: 'params'.*; all: layers, params"),
        ({"minimise": ("latency",)}, UnknownName, "no cost named 'latency'"),
        ({"minimise": "params"}, BadParameter, r"write \('params',\)"),
        ({"minimise": ("worth",)}, BadParameter, "'worth' is to be maximised and minimised"),
        ({"subject_to": {"params": "5"}}, BadParameter, "'params' needs a limit such as '<= 1e6', .*found '5'"),
        ({"subject_to": {"params": "<= many"}}, BadParameter, "found '<= many'"),
        ({"subject_to": {"params": "<= 1e999"}}, BadParameter, "found '<= 1e999'"),
        ({"subject_to": {"params": None}}, BadParameter, "found 'None'"),
        ({"subject_to": {"params": "== 5"}}, BadParameter, "found '== 5'"),
        ({"budget": 0}, BadParameter, "at least 1 trial"),
        ({"minimise": ("params",), "budget": Budget(5, "evolution")}, BadParameter, "searches one objective, found 2"),
    ],
)
def test_what_is_refused_before_anything_is_evaluated(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    net = Net()
    with pytest.raises(error, match=words):
        find(net, {"worth": net.worth}, **arguments)
    assert not net.judged


def test_a_cost_that_is_no_number_is_named() -> None:
    net = SimpleNamespace(space=NET, cost=lambda values: {"params": float("nan")})
    with pytest.raises(BadParameter, match="the cost 'params' is nan, not a finite number"):
        find(net, size, subject_to={"params": "<= 5"})


def test_numbers_without_gaps_can_be_limited_too() -> None:
    space = Space({"x": Float(0, 1), "y": Float(0, 1)})
    net = SimpleNamespace(space=space, cost=lambda v: {"sum": v["x"] + v["y"]})
    found = find(net, lambda v: v["x"] * v["y"], subject_to={"sum": "<= 0.6"}, budget=Budget(60, "cmaes"))
    assert all(sum(trial.parameters.values()) <= 0.6 for trial in found.trials)
    assert 0.08 < found.best.values[0] <= 0.09


def test_a_sampler_that_wants_repeats_gets_them() -> None:
    """EMARS measures its survivors again: accuracies that rise with training are not taken from memory."""
    net = Net()
    found = find(net, lambda v: net.worth(v) * net.judged[str(v)], subject_to={"params": "<= 9000"}, budget=Budget(40, EMARS(population=6)))
    assert sum(net.judged.values()) == 40
    assert max(net.judged.values()) > 2
    assert found.best.values[0] > max(net.worth(values) for values in NET.enumerate() if size(values) ** 2 <= 9000)


def test_subnets_of_a_supernet_are_found_within_their_parameters() -> None:
    """All twelve are looked at one by one: the best of those that keep the limit is what is found, and its export is of that size."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    batch = torch.randn(32, 6)
    net = elastic(model, {"width": {"0": [4, 8, 16], "2": [2, 4, 8, 16]}}, batch)

    def spread(values: Values) -> float:
        net.select(values)
        with torch.no_grad():
            return float(net(batch).std())

    found = find(net, spread, subject_to={"params": "<= 150", "latency_ms": "<= 10000"}, budget=Budget(10, "evolution"))
    within = [values for values in net.space.enumerate() if net.cost(values).params <= 150]
    assert 2 < len(within) < 10
    assert found.best.values[0] == max(spread(values) for values in within)
    assert sum(p.numel() for p in net.export(found.best.parameters).parameters()) == found.cost(found.best).params <= 150


def test_a_table_can_be_searched() -> None:
    """Cells of NAS-Bench-201 with at most two convolutions: what is found beats nine in ten of them."""
    convolutions = lambda values: sum(op.startswith("nor_conv") for op in values.values())  # noqa: E731 - a formula
    net = SimpleNamespace(space=CELL, cost=lambda values: {"convolutions": convolutions(values)})
    found = find(net, after_12_epochs, subject_to={"convolutions": "<= 2"}, budget=Budget(80, LocalMutation()))
    allowed = [after_12_epochs(values) for values in CELL.enumerate() if convolutions(values) <= 2]
    assert all(convolutions(trial.parameters) <= 2 for trial in found.trials)
    assert found.best.values[0] > np.quantile(allowed, 0.9)
