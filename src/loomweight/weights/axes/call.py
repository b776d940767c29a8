"""One operation of a traced graph, its arguments by the names of its schema."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .labels import Act, Ledger


@dataclass(frozen=True)
class Call:
    """An operation.

    Args:
        name: without namespace and overload: "linear".
        given: argument name -> value, defaults filled in; tensors are `Act`s.
        shapes: of its results.
    """

    name: str
    given: Mapping[str, Any]
    shapes: Sequence[tuple[int, ...]]

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first result."""
        return self.shapes[0]

    @property
    def acts(self) -> list[Act]:
        """All tensors among the arguments, lists opened."""
        found = []
        for value in self.given.values():
            found += [value] if isinstance(value, Act) else [item for item in value if isinstance(item, Act)] if isinstance(value, list | tuple) else []
        return found

    @property
    def act(self) -> Act:
        """The first tensor."""
        return self.acts[0]


@dataclass(frozen=True)
class Hidden:
    """A result whose units are not followed: whatever uses it makes those of `sources` stay."""

    shape: tuple[int, ...]
    sources: Sequence[Act]


#: what a handler gives: the result, several results, or None: not understood
Made = Act | tuple[Act | Hidden, ...] | None
Handler = Callable[[Ledger, Call], Made]
