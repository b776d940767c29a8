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
#: module, dictionary, key
Entry = tuple[int, str, str]


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

    @property
    def entry(self) -> Entry:
        """Which entry of which module it is."""
        return id(self.module), self.kind, self.key


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


@dataclass
class Originals:
    """Entries of modules as the model was given, so that all of it can be put in place again."""

    entries: dict[Entry, tuple[dict[str, Any], Any]] = field(default_factory=dict)

    def note(self, changes: Iterable[Change]) -> None:
        """Remember entries that were not changed before."""
        for change in changes:
            target = getattr(change.module, change.kind)
            self.entries.setdefault(change.entry, (target, target[change.key]))

    def forget(self, entries: Iterable[Entry]) -> None:
        """These are no longer changed."""
        for entry in entries:
            self.entries.pop(entry, None)

    def renew(self) -> None:
        """Remember the entries as they are now."""
        self.entries = {entry: (target, target[entry[2]]) for entry, (target, _) in self.entries.items()}

    def restore(self) -> None:
        """Put them back."""
        for (_, _, key), (target, value) in self.entries.items():
            target[key] = value


def slots_of(changes: Iterable[Change]) -> list[Slot]:
    """A slot for each set of fields."""
    found: dict[frozenset[str], Slot] = {}
    for change in changes:
        found.setdefault(frozenset(change.fields), Slot(change.fields)).changes.append(change)
    return list(found.values())


def by_field(slots: list[Slot], names: Iterable[str]) -> dict[str, list[Slot]]:
    """The slots that each field changes."""
    found: dict[str, list[Slot]] = {name: [] for name in names}
    for slot in slots:
        for name in slot.fields:
            found[name].append(slot)
    return found
