"""The engine on a real Ray of this machine, started once."""

import os
import signal
from collections.abc import Iterator

import pytest
import torch

from loomweight.engines import Inline, Ray, current
from loomweight.errors import BadParameter, WorkerDied

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
