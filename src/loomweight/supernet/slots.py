"""What changes in the modules of a model when another subnet is chosen: entries of four dictionaries, looked up, not computed.

A `Change` says that one entry of a module (a parameter, a buffer, a child, an attribute) follows from the values of some fields. All
changes of one module are a `Slot`; for each combination of their values that was met, the slot keeps the entries, so that choosing
a subnet that was met before is a few dictionary updates.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

Kind = Literal["_parameters", "_buffers", "_modules", "__dict__"]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """One entry of a module that follows from fields.

    Args:
        module: whose.
        kind: which of its dictionaries.
        key: the entry.
        fields: what it depends on.
        make: values -> the entry.
    """

    module: nn.Module
    kind: Kind
    key: str
    fields: tuple[str, ...]
    make: Callable[[Values], Any]


@dataclass
class Slot:
    """All changes of one module."""

    module: nn.Module
    changes: list[Change]
    fields: tuple[str, ...]
    met: dict[tuple[Any, ...], list[tuple[dict[str, Any], dict[str, Any]]]] = field(default_factory=dict)

    def apply(self, values: Values) -> None:
        """Put the entries for these values in place."""
        key = tuple([values[name] for name in self.fields])
        found = self.met.get(key)
        if found is None:
            found = self.met[key] = self._made(values)
        for target, entries in found:
            target.update(entries)

    def _made(self, values: Values) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        entries: dict[str, dict[str, Any]] = {}
        for change in self.changes:
            entries.setdefault(change.kind, {})[change.key] = change.make(values)
        return [(getattr(self.module, kind), made) for kind, made in entries.items()]


def slots_of(changes: Iterable[Change]) -> list[Slot]:
    """A slot for each module and set of fields."""
    found: dict[tuple[int, tuple[str, ...]], Slot] = {}
    for change in changes:
        key = (id(change.module), change.fields)
        if key not in found:
            found[key] = Slot(change.module, [], change.fields)
        found[key].changes.append(change)
    return list(found.values())
