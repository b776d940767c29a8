"""Run on a few threads of this process.

Torch releases the interpreter's lock inside its kernels, so threads over cache-sized blocks use all cores. Each worker
switches torch's own intra-operation threads off for itself: two layers of threads would fight for the same cores.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import islice

import torch

from ..errors import BadParameter
from .engine import Engine, R, T

_NAME = "loomweight-worker"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Threads(Engine):
    """`count` threads; by default one for each core that this process may use."""

    count: int = field(default_factory=cores)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BadParameter(f"threads must be at least 1, found {self.count}.")

    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield results in the order of the tasks; at most `2 * count` tasks are ahead of the consumer.

        Called from inside a worker, it runs inline there: the cores are already in use.
        """
        if threading.current_thread().name.startswith(_NAME):
            yield from map(function, tasks)
            return
        before = torch.get_num_threads()
        pool = ThreadPoolExecutor(self.count, _NAME, initializer=torch.set_num_threads, initargs=(1,))
        todo = iter(tasks)
        try:
            ahead: deque[Future[R]] = deque(_submit(pool, function, task) for task in islice(todo, 2 * self.count))
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(_submit(pool, function, task) for task in islice(todo, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            torch.set_num_threads(before)  # torch keeps the last value for threads to come


def _submit(pool: ThreadPoolExecutor, function: Callable[[T], R], task: T) -> "Future[R]":
    return pool.submit(copy_context().run, function, task)
