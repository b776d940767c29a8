"""The engine on a real Ray of this machine, started once."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import loomweight as lw
from loomweight.engines import Inline, Ray, current
from loomweight.errors import BadParameter, WorkerDied
from loomweight.search import Budget, Choice, Ordered, Space, Values, find
from tests.cli.run import run

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def engine() -> Iterator[Ray]:
    """Two workers; a Ray that is there already is used by `Ray`, so its small memory is given here."""
    ray.init(
        address="local", num_cpus=2, object_store_memory=80 << 20, include_dashboard=False, logging_level="ERROR", log_to_driver=False, configure_logging=False
    )
    yield Ray(2)
    ray.shutdown()


def judged(number: int) -> float:
    if number < 0:
        raise BadParameter(f"{number} is negative")
    if number == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    return 6 / number


def test_results_keep_their_order_and_come_from_other_processes(engine: Ray) -> None:
    scale = torch.tensor(2.0)
    found = list(engine.map(lambda number: (os.getpid(), float(number * scale)), range(5)))
    assert [value for _, value in found] == [0, 2, 4, 6, 8]
    assert os.getpid() not in {pid for pid, _ in found}


def test_errors_are_those_of_the_function(engine: Ray) -> None:
    with pytest.raises(BadParameter, match="-1 is negative"):
        list(engine.map(judged, [1, -1, 2]))
    with pytest.raises(ZeroDivisionError):
        list(engine.attempt(judged, [1, 0]))
    assert str(next(iter(engine.attempt(judged, [-1])))) == "-1 is negative"


def test_a_worker_that_dies_costs_its_task_alone(engine: Ray) -> None:
    one, dead, three = engine.attempt(judged, [1, 99, 3])
    assert (one, three) == (6, 2)
    assert isinstance(dead, WorkerDied)
    with pytest.raises(WorkerDied, match="a Ray worker ended before its task did"):
        list(engine.map(judged, [99]))


def test_work_inside_a_worker_stays_there(engine: Ray) -> None:
    def inside(number: int) -> tuple[str, bool, int]:
        mapped = list(Ray(2).map(lambda _: os.getpid(), range(2)))
        return type(current()).__name__, set(mapped) == {os.getpid()}, torch.get_num_threads()

    assert list(engine.map(inside, [0])) == [("Inline", True, 1)]


def test_as_a_context_it_leaves_a_running_ray_and_the_passes_alone(engine: Ray) -> None:
    with Inline(), engine:
        assert current() == Inline()
    assert ray.is_initialized()


class Table:
    """A net of three widths; the function that judges it lies elsewhere."""

    space = Space({"width": Ordered((8, 16, 32)), "op": Choice(("sound", "nan", "deadly"))})

    def cost(self, values: Values, /) -> dict[str, float]:
        return {"params": values["width"] ** 2}


def judge_of_a_net(values: Values) -> float:
    if values["op"] == "deadly" and values["width"] == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return float("nan") if values["op"] == "nan" else values["width"] + (values["op"] == "sound")


def test_a_search_goes_on_when_workers_die(engine: Ray, tmp_path: Path) -> None:
    found = find(Table(), judge_of_a_net, subject_to={"params": "<= 300"}, budget=Budget(8, "random"), engine=engine, storage=tmp_path / "s")
    reasons = {tuple(trial.parameters.values()): trial.failure for trial in found.trials}
    assert found.best.parameters == {"width": 16, "op": "sound"}
    assert reasons[16, "deadly"] == "" and "NaN" in reasons[16, "nan"]
    assert reasons[8, "deadly"].startswith("WorkerDied: a Ray worker ended before its task did")


def test_merges_are_judged_on_workers_by_a_module_of_the_working_folder(engine: Ray, tmp_path: Path, monkeypatch, capsys) -> None:
    """`loomweight tune --engine ray:2`; the module is found although Ray was started before anyone knew of its folder."""
    for i, name in enumerate("ab"):
        lw.save({"w": torch.eye(2)[i]}, tmp_path / f"{name}.safetensors")
    (tmp_path / "judge_on_ray.py").write_text("def worth(weights):\n    return -float((weights['w'] - 0.5).norm())\n")
    models = ", ".join(f"{{model: {name}.safetensors, parameters: {{weight: !search [0, 1]}}}}" for name in "ab")
    (tmp_path / "recipe.yaml").write_text(f"merge_method: linear\nparameters: {{normalize: false}}\nmodels: [{models}]\n")
    monkeypatch.chdir(tmp_path)
    ran = run(capsys, "tune", "recipe.yaml", "out", "--eval", "judge_on_ray:worth", "--trials", 4, "--engine", "ray:2", "--sampler", "evolution")
    assert ran.code == 0, ran.err
    assert (tmp_path / "out" / "best.yaml").exists()
    assert len((tmp_path / "out" / "trials.csv").read_text().splitlines()) == 5
    refused = run(capsys, "tune", "recipe.yaml", "out", "--eval", "judge_on_ray:worth", "--engine", "raa")
    assert refused.code == 2 and "no engine named 'raa'; nearest: 'ray'" in refused.err
