"""Flower itself: its simulation on Ray, and a SuperLink with SuperNodes on loopback, whose clients are processes."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

import loomweight as lw
from loomweight.errors import TooFewReplies
from loomweight.federate import Fault, Guard, Strategy, World, flower, flower_client, simulate
from loomweight.federate.homes.wire import tensors_of
from loomweight.rules import Median

from ..small import clients, model, same, whole_batch
from .deployed import deployed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DATA = list(clients(10).values())


def in_simulation(strategy: Strategy, rounds: int = 2) -> tuple[Any, Any]:
    """Ten virtual nodes on two Ray actors, of which client 3 raises and client 5 answers NaN."""
    from flwr.simulation import run_simulation

    data, left = DATA, {}

    def data_of(context: Context) -> Any:
        number = int(context.node_config["partition-id"])
        if number == 3:
            raise OSError("the disk of client 3 is full")
        inputs, targets = data[number]
        return (inputs * torch.nan if number == 5 else inputs), targets

    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        home: Any = flower(strategy, model(), 10)
        left["result"], left["home"] = home.start(grid, num_rounds=rounds), home

    resources = {"init_args": {"num_cpus": 2, "include_dashboard": False}, "client_resources": {"num_cpus": 1}}
    run_simulation(server, flower_client(model(), data_of, strategy), 10, backend_config=resources)
    return left["result"], left["home"]


@pytest.mark.filterwarnings("ignore")  # Flower and Ray call what is deprecated in one another
def test_flowers_simulation_gives_the_bits_of_ours_and_goes_on_without_two_bad_clients() -> None:
    strategy = Strategy(aggregate=Median(), local=whole_batch())
    result, home = in_simulation(strategy)
    ours = simulate(model(), DATA, strategy, 2, world=World(faults={name: Fault("nothing") for name in "35"}))
    assert [line["who"] for line in home.server.history] == [{"3": "died", "5": "nonfinite"}] * 2
    assert same(tensors_of(result.arrays), ours.weights)


@pytest.mark.filterwarnings("ignore")  # Flower and Ray call what is deprecated in one another
def test_what_the_guard_stops_fails_flowers_simulation() -> None:
    with pytest.raises(TooFewReplies, match=r"8 of 10 replies count"):
        in_simulation(Strategy(aggregate=Median(), local=whole_batch(), guard=Guard(fewest=9)))


def the_app() -> Any:
    path = Path(__file__).parent / "app" / "fedapp" / "app.py"
    spec = importlib.util.spec_from_file_location("fedapp_app", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_real_server_with_two_client_processes_gives_the_bits_of_the_simulation(tmp_path: Path) -> None:
    app = the_app()
    with deployed(tmp_path, 2) as flowers:
        said, run = flowers.run(clients=2, rounds=2, out=str(tmp_path / "out"), folder=str(tmp_path / "state"), timeout=400)
        assert run["status"] == "finished:completed", said
        said, run = flowers.run(clients=2, rounds=3, out=str(tmp_path / "more"), folder=str(tmp_path / "state"), timeout=400)  # one round more
        assert run["status"] == "finished:completed", said
    for name, rounds in (("out", 2), ("more", 3)):
        ours = simulate(app.model(), [app.data(0), app.data(1)], app.strategy, rounds)
        assert same(dict(lw.load(tmp_path / name)), ours.weights)


def test_a_client_process_that_dies_leaves_the_others_at_work_and_too_few_fail_the_run(tmp_path: Path) -> None:
    app = the_app()
    with deployed(tmp_path, 3) as flowers:
        said, run = flowers.run(clients=3, rounds=2, out=str(tmp_path / "out"), fault="dies", timeout=600)
        assert run["status"] == "finished:completed", said
        ours = simulate(app.model(), [app.data(i) for i in range(3)], app.strategy, 2, world=World(faults={"1": Fault("nothing")}))
        assert same(dict(lw.load(tmp_path / "out")), ours.weights)
        said, run = flowers.run(clients=3, rounds=1, fewest=3, out=str(tmp_path / "none"), fault="nan", timeout=400)
        assert run["status"] == "finished:failed" and "2 of 3 replies count" in run["status-details"], said
        assert not (tmp_path / "none").exists()
