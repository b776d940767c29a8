"""What the lines of a space come to on one model: fields, and what each of them changes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from ..errors import BadParameter, UnknownName
from ..search import Choice, Ordered, Space
from ..weights.axes import Axes
from ..weights.names import listed
from .parts import Cut
from .slots import Change
from .space_table import Line

#: a derivation of a tensor -> a derivation on top of it, and what changes in that with fields
Through = Callable[[nn.Module], tuple[nn.Module, list[Change]]]


@dataclass
class Draft:
    """A model, its axes, and what has been declared so far; kinds add to it.

    Args:
        model: its modules are changed by some kinds (attention, choices of operators).
        axes: which axes carry the same units.
        fields: field -> its values, ascending where they are numbers; the last one is the whole.
        spaces: space of units -> the field that says its size.
        windows: tensor -> axis -> how far a kernel reaches.
        changes: entries of modules that follow from fields.
        homes: field -> names of the modules that it concerns.
        kept: name of a list or of a choice of operators -> (its field, value -> names of the children that are used).
        through: tensor -> what it goes through before it is used, each with its place in the order.
        resolution: the field of the input's size.
        made: derivations that are put into the model.
    """

    model: nn.Module
    axes: Axes
    fields: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    spaces: dict[str, str] = field(default_factory=dict)
    windows: dict[str, dict[int, Cut]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    homes: dict[str, list[str]] = field(default_factory=dict)
    kept: dict[str, tuple[str, Mapping[Any, tuple[str, ...]]]] = field(default_factory=dict)
    through: dict[str, list[tuple[int, Through]]] = field(default_factory=dict)
    resolution: str = ""
    made: set[nn.Module] = field(default_factory=set)

    def add(self, line: Line, places: Sequence[tuple[str, tuple[Any, ...], Sequence[str]]]) -> list[str]:
        """A field for each place (name, values, modules), or one for all where the line says `tied`; the fields' names, a place each."""
        if "tied" not in line.words:
            names = [f"{line.kind} {place}".rstrip() for place, _, _ in places]
            for name, (_, values, homes) in zip(names, places, strict=True):
                self._field(line, name, values, homes)
            return names
        name = f"{line.kind} {line.where}".rstrip()
        several = {values for _, values, _ in places}
        if len(several) > 1 and not all(isinstance(value, float) for value in line.values):
            raise BadParameter(f"{line.label} ties places of different sizes; give shares of them, as in 0.5 1.0.")
        values = several.pop() if len(several) == 1 else tuple(sorted(line.values))
        self._field(line, name, values, [home for _, _, homes in places for home in homes])
        return [name] * len(places)

    def found(self, line: Line, candidates: Mapping[str, Any], what: str) -> list[str]:
        """Candidates that the line's pattern names, themselves or something that they lie in.

        Raises:
            UnknownName: none.
        """
        matched = [name for name in candidates if named_by(name, line.where)]
        if not matched:
            why = "".join(f" Tracing says: {note}." for note in self._notes(line.where))
            raise UnknownName(f"{line.label} names no {what} of this model; there are: {listed(list(candidates)) if candidates else 'none'}.{why}")
        return matched

    def _notes(self, pattern: str) -> Iterator[str]:
        """Notes of the table that speak of what a pattern names."""
        for note in self.axes.notes:
            if any(named_by(name.strip("'"), pattern) for name in note.replace(",", " ").replace(":", " ").split()):
                yield note

    def space(self) -> Space:
        """The space that searches and samplers know."""
        return Space({name: (Ordered if _ascending(values) else Choice)(values) for name, values in self.fields.items()}, depends=dict(self._depends()))

    def _depends(self) -> Iterator[tuple[str, tuple[str, tuple[Any, ...]]]]:
        """A field matters only where the blocks or the candidate that it concerns are used; of lists within lists the innermost says so."""
        innermost = sorted(self.kept.items(), key=lambda item: -item[0].count("."))
        for name, homes in self.homes.items():
            for listing, (above, kept) in innermost:
                inside = {home.removeprefix(f"{listing}.").partition(".")[0] for home in homes if home.startswith(f"{listing}.")}
                if above == name or not inside or any(not home.startswith(f"{listing}.") for home in homes):
                    continue
                values = tuple(value for value, used in kept.items() if inside & set(used))
                if len(values) < len(kept):
                    yield name, (above, values)
                    break

    def _field(self, line: Line, name: str, values: tuple[Any, ...], homes: Sequence[str]) -> None:
        if name in self.fields:
            raise BadParameter(f"{line.label}: {name!r} varies already by an earlier line; give each place one line.")
        self.fields[name], self.homes[name] = values, list(homes)


def _ascending(values: tuple[Any, ...]) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return numbers and list(values) == sorted(values)


def named_by(name: str, pattern: str) -> bool:
    """Whether a pattern names something, or what it lies in.

    >>> named_by("layers.0.mlp.up", "layers.*.mlp"), named_by("layers.0.mlp.up", "layers.0"), named_by("head", "layers.*")
    (True, True, False)
    """
    return any(fnmatchcase(part, pattern) for part in (name, *_ancestors(name)))


def matching(name: str, pattern: str) -> str:
    """The outermost thing that a pattern names and that this one is, or lies in.

    >>> matching("blocks.0.conv", "blocks.*"), matching("pool1", "pool*")
    ('blocks.0', 'pool1')
    """
    return next((part for part in reversed([name, *_ancestors(name)]) if fnmatchcase(part, pattern)), name)


def _ancestors(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def homes(axes: Axes, space: str) -> list[str]:
    """Modules whose tensors carry a space."""
    return list(dict.fromkeys(use.tensor.rpartition(".")[0] for use in axes.uses(space)))


def sizes_in(line: Line, place: str, whole: int) -> tuple[int, ...]:
    """The values of a line as numbers of units of a place that has `whole`, ascending; the whole is among them.

    Raises:
        BadParameter: a value is no size of it, or the largest is not the whole.
    """
    sizes = []
    for value in line.values:
        count = value * whole if isinstance(value, float) else value
        if not isinstance(count, int | float) or isinstance(value, bool) or not 0 < count <= whole or (isinstance(value, float) and value > 1):
            raise BadParameter(f"{line.label}: {place} has {whole} units; its values lie between 1 and {whole}, or are shares up to 1.0; found {value!r}.")
        if abs(count - round(count)) > 1e-9 * whole:
            raise BadParameter(f"{line.label}: {value!r} of {place}'s {whole} units is {count:g}, not a whole number; give the numbers themselves.")
        sizes.append(round(count))
    if max(sizes) != whole:
        raise BadParameter(f"{line.label}: {place} has {whole} units, but its largest value is {max(sizes)}; add {whole}, or build the model smaller.")
    if len(set(sizes)) < len(sizes):
        raise BadParameter(f"{line.label}: of {place}'s {whole} units two values make the same number: {sorted(sizes)}.")
    return tuple(sorted(sizes))
