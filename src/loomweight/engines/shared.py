"""A value that workers need many times, put once where they can reach it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


class Shared(ABC):
    """A handle of a value; it is what travels to a worker."""

    @abstractmethod
    def get(self) -> Any:
        """The value, not to be changed."""


@dataclass(frozen=True)
class Here(Shared):
    """The value itself: workers share this process's memory.

    >>> Here([1, 2]).get()
    [1, 2]
    """

    value: Any

    def get(self) -> Any:
        """The value."""
        return self.value
