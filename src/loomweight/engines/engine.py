"""The one verb of an engine, and which engine is in use."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from ..errors import LoomweightError
from .shared import Here, Shared

T = TypeVar("T")
R = TypeVar("R")


class Engine(ABC):
    """Maps a function over tasks. Used as a context, it is the engine that loomweight's own passes run on."""

    @abstractmethod
    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield `function(task)` for each task, in the order of the tasks; the first error is raised and the rest is dropped."""

    def attempt(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R | LoomweightError]:
        """As `map`, but a `LoomweightError` of one task is that task's result, and the others go on."""
        return self.map(Guarded(function), tasks)

    def share(self, value: Any) -> Shared:
        """Put a value once where all workers reach it; the handle travels with the tasks. Dicts, lists and tuples of tensors lie in shared memory."""
        return Here(value)

    def __enter__(self) -> Self:
        _tokens.append(_current.set(self))
        return self

    def __exit__(self, *error: object) -> None:
        _current.reset(_tokens.pop())


@dataclass(frozen=True)
class Guarded:
    """A function that gives a `LoomweightError` back instead of raising it."""

    function: Callable[[Any], Any]

    def __call__(self, task: Any) -> Any:
        try:
            return self.function(task)
        except LoomweightError as error:
            return error


_current: ContextVar[Engine | None] = ContextVar("engine", default=None)
_tokens: list[Token[Engine | None]] = []


def current() -> Engine:
    """The engine in use: the innermost `with engine:`, or threads, one a core."""
    from .threads import Threads

    return _current.get() or Threads()
