"""The one verb of an engine, and which engine is in use."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar, Token
from typing import Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Engine(ABC):
    """Maps a function over tasks. Used as a context, it is the engine that loomweight's own passes run on."""

    @abstractmethod
    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield `function(task)` for each task, in the order of the tasks; the first error is raised and the rest is dropped."""

    def __enter__(self) -> Self:
        _tokens.append(_current.set(self))
        return self

    def __exit__(self, *error: object) -> None:
        _current.reset(_tokens.pop())


_current: ContextVar[Engine | None] = ContextVar("engine", default=None)
_tokens: list[Token[Engine | None]] = []


def current() -> Engine:
    """The engine in use: the innermost `with engine:`, or threads, one a core."""
    from .threads import Threads

    return _current.get() or Threads()
