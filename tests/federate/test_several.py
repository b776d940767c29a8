"""FedAST: several models at once by the same clients."""

import pytest
import torch

from loomweight.errors import BadParameter
from loomweight.federate import AllNaN, Buffered, Fault, Guard, Job, Pool, Strategy, World, allocation, simulate, simulate_several
from loomweight.rules import Mean

from .pace import Paces, Point, drawn_to, steps
from .small import same

NAMES = [f"c{i}" for i in range(6)]
PACE = Paces({name: 1.0 + i for i, name in enumerate(NAMES)})


def jobs() -> dict[str, Job]:
    """One on which the clients agree, one on which they do not."""
    strategy = Strategy(aggregate=Buffered(2), local=steps(0.1))
    alike, apart = dict.fromkeys(NAMES, 1.0), {name: 1.0 + (-1) ** i * 3 for i, name in enumerate(NAMES)}
    return {"alike": Job(Point(), drawn_to(**alike), strategy), "apart": Job(Point(), drawn_to(**apart), strategy)}


def test_both_are_trained_and_nobody_does_two_things_at_once() -> None:
    found = simulate_several(jobs(), rounds=12, world=World(speeds=PACE))
    assert all(len(one.history) == 12 and [line["time"] for line in one.history] == sorted(line["time"] for line in one.history) for one in found.values())
    assert found["alike"].weights["at"].item() > 0.5
    again = simulate_several(jobs(), rounds=12, world=World(speeds=PACE))
    assert all(same(found[name].weights, again[name].weights) for name in found)
    assert sum(one.history[0]["asked"] for one in found.values()) <= len(NAMES) + 2 * 2  # all six, and one for each answer of a first round


def test_clients_go_where_updates_differ_most() -> None:
    """A heterogeneous task gets more of the clients' answers: the paper's allocation, against equal shares."""
    assert allocation({"a": 1.0, "b": 1.0}, 5) == {"a": 3, "b": 2} and sum(allocation({"a": 0.0, "b": 9.0, "c": 1.0}, 20).values()) == 20
    assert allocation({"a": 0.0, "b": 1.0}, 6) == {"a": 1, "b": 5}

    def answers_a_second(adapt: int | None) -> float:
        found = simulate_several(jobs(), rounds=16, adapt=adapt, world=World(speeds=Paces(dict.fromkeys(NAMES, 1.0))))
        end = min(one.history[-1]["time"] for one in found.values())
        counted = {name: sum(line["pooled"] for line in one.history if line["time"] <= end) for name, one in found.items()}
        return counted["apart"] / counted["alike"]

    assert answers_a_second(None) < 1.3 < 1.7 < answers_a_second(6)  # shares are equal until the first six answers, then 5 to 1 at most


def test_one_job_alone_is_the_simulation() -> None:
    only = jobs()["alike"]
    several = simulate_several({"one": only}, rounds=4, adapt=None, buffers=3, world=World(speeds=PACE))["one"]
    alone = simulate(only.model, only.clients, only.strategy, 4, world=World(speeds=PACE))
    assert same(several.weights, alone.weights) and several.history == alone.history


def test_jobs_and_clients_that_do_not_fit_and_clients_that_fail() -> None:
    with pytest.raises(BadParameter, match="Buffered"):
        simulate_several({"one": Job(Point(), drawn_to(a=1.0), Strategy(aggregate=Pool(Mean())))}, 1)
    with pytest.raises(BadParameter, match="same names"):
        simulate_several({**jobs(), "other": Job(Point(), drawn_to(a=1.0), Strategy(aggregate=Buffered(1)))}, 1)
    failing = {name: Job(job.model, job.clients, Strategy(aggregate=Buffered(2), local=steps(), guard=Guard(few="skip"))) for name, job in jobs().items()}
    found = simulate_several(failing, 2, world=World(speeds=PACE, faults=dict.fromkeys(NAMES, Fault("raises"))))
    assert all(torch.equal(one.weights["at"], torch.zeros(1)) and len(one.history) == 2 for one in found.values())


def test_a_client_that_sends_nan_is_refused_and_decides_nothing() -> None:
    found = simulate_several(jobs(), rounds=6, world=World(speeds=PACE, attackers={"c2": AllNaN()}))
    assert all(line["who"].get("c2", "nonfinite") == "nonfinite" for one in found.values() for line in one.history)
    assert any("c2" in line["who"] for one in found.values() for line in one.history)
    assert all(len(one.history) == 6 and one.weights["at"].isfinite() for one in found.values())
