"""What changes in the modules of a model when another subnet is chosen: entries of four dictionaries, looked up, not computed.

A `Change` says that one entry of a module (a parameter, a buffer, a child, an attribute) follows from the values of some fields. All
changes that follow from the same fields are a `Slot`; for each combination of their values that was met, the slot keeps the entries,
so that choosing a subnet that was met before is a few dictionary updates.
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
        shown: nothing reads it in a forward pass (`in_features`): it is put in place where a module is exported.
    """

    module: nn.Module
    kind: Kind
    key: str
    fields: tuple[str, ...]
    make: Callable[[Values], Any]
    shown: bool = False


@dataclass
class Slot:
    """All changes that follow from the same fields."""

    fields: tuple[str, ...]
    changes: list[Change] = field(default_factory=list)
    met: dict[tuple[Any, ...], list[tuple[Callable[[dict[str, Any]], None], dict[str, Any]]]] = field(default_factory=dict)

    def apply(self, values: Values) -> None:
        """Put the entries for these values in place."""
        key = tuple([values[name] for name in self.fields])
        found = self.met.get(key)
        if found is None:
            found = self.met[key] = self._made(values)
        for update, entries in found:
            update(entries)

    def _made(self, values: Values) -> list[tuple[Callable[[dict[str, Any]], None], dict[str, Any]]]:
        entries: dict[tuple[int, str], tuple[dict[str, Any], dict[str, Any]]] = {}
        for change in self.changes:
            target = getattr(change.module, change.kind)
            entries.setdefault((id(change.module), change.kind), (target, {}))[1][change.key] = change.make(values)
        return [(target.update, made) for target, made in entries.values()]


def slots_of(changes: Iterable[Change]) -> list[Slot]:
    """A slot for each set of fields."""
    found: dict[frozenset[str], Slot] = {}
    for change in changes:
        found.setdefault(frozenset(change.fields), Slot(change.fields)).changes.append(change)
    return list(found.values())
