"""Run on the worker processes of Ray: on this machine, or on all machines of a cluster.

For tasks that take seconds or more, such as evaluating a network: what a task needs is copied to its worker, and a worker takes
seconds to start. Loomweight's own passes over blocks, which share memory, stay on threads.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

import torch

from ..errors import BadParameter, LoomweightError, MissingExtra, WorkerDied
from .engine import Engine, Guarded, R, T
from .inline import Inline
from .ray_shared import stored
from .shared import Shared
from .threads import cores

#: set in the environment of workers: what maps again there runs inline
_INSIDE = "LOOMWEIGHT_RAY_WORKER"


@dataclass(frozen=True)
class Ray(Engine):
    """`count` tasks at a time, each in a process of its own with one core.

    A Ray that runs already is used, be it this process's own or that of a cluster (`address`); otherwise one is started on this
    machine, and `with Ray():` stops it again. Functions and what they close over travel by cloudpickle. A worker that dies takes
    its task with it: `map` raises `WorkerDied`, `attempt` gives it as the result. After an error, tasks that have begun run to their
    end unheard: Ray 2.60 ends the whole process where a task is cancelled just as it finishes. Needs the extra `ray`.

    Args:
        count: tasks at a time.
        address: of a running cluster, `auto` for the one that this machine belongs to.
    """

    count: int = field(default_factory=cores)
    address: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BadParameter(f"ray needs at least 1 task at a time, found {self.count}.")

    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield results in the order of the tasks; the first error is raised and what has not begun is dropped."""
        for result in self._results(function, tasks):
            if isinstance(result, WorkerDied):
                raise result
            yield result

    def attempt(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R | LoomweightError]:
        """As every engine's; a worker that died is an error of its task alone."""
        return self._results(Guarded(function), tasks)

    def share(self, value: Any) -> Shared:
        """In Ray's object store, which all workers of a machine map into their memory."""
        if os.environ.get(_INSIDE):
            return super().share(value)
        _ray()
        _start(self)
        return stored(value)

    def __enter__(self) -> Self:
        """Start Ray, if need be. Loomweight's own passes stay where they are."""
        _mine.append(_start(self))
        return self

    def __exit__(self, *error: object) -> None:
        if _mine.pop():
            _ray().shutdown()

    def _results(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R | WorkerDied]:
        if os.environ.get(_INSIDE):
            yield from map(function, tasks)
            return
        ray = _ray()
        _start(self)
        remote = ray.remote(num_cpus=1, max_retries=0)(_worker)
        held, todo = [ray.put(function)], iter(tasks)
        ahead: deque[Any] = deque()
        ahead.extend(remote.remote(sys.path, held, task) for task in islice(todo, self.count))
        while ahead:
            yield _got(ray, ahead.popleft())
            ahead.extend(remote.remote(sys.path, held, task) for task in islice(todo, 1))


#: for each `with Ray()` that is open: whether it started Ray
_mine: list[bool] = []


def _worker(path: list[str], held: list[Any], task: Any) -> Any:
    """The function travels inside a list, so that it is unpacked here, where the modules that it names can be found by now."""
    os.environ[_INSIDE] = "1"
    sys.path.extend(folder for folder in path if folder not in sys.path)
    torch.set_num_threads(1)
    with Inline():
        return _ray().get(held[0])(task)


def _got(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, BaseException) else error) from error
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError) as error:
        reason = str(error).strip().splitlines()[0]
        return WorkerDied(f"a Ray worker ended before its task did (killed, out of memory, or a crash in native code): {reason}")


def _start(engine: Ray) -> bool:
    """True where Ray had to be started."""
    ray = _ray()
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = {} if engine.address else {"num_cpus": engine.count, "include_dashboard": False}
    try:
        ray.init(address=engine.address or "local", logging_level="ERROR", log_to_driver=False, configure_logging=False, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BadParameter(f"Ray cannot be reached at {engine.address or 'this machine'}: {str(error).splitlines()[0]}") from error
    return True


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtra("the engine `ray` needs Ray; install it with: pip install 'loomweight[ray]'") from error
    return ray
