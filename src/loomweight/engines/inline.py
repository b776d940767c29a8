"""Run in the calling thread, one task after the other."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .engine import Engine, R, T


@dataclass(frozen=True)
class Inline(Engine):
    """No threads: the order of events is the order of the tasks, which is what a debugger wants."""

    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield `function(task)` for each task, lazily."""
        return map(function, tasks)
