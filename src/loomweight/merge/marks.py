"""YAML with line numbers: every value knows where it stands, so that every complaint can say so."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, NoReturn

import yaml

from ..errors import RecipeError

#: What a YAML scalar can be here.
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Place:
    """A line of a recipe.

    >>> str(Place("soup.yaml", 3)), str(Place("", 3))
    ('soup.yaml, line 3', 'line 3')
    """

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.file else f"line {self.line}"

    def error(self, words: str) -> RecipeError:
        """The error that starts with this place."""
        return RecipeError(f"{self}: {words}")

    def refuse(self, words: str) -> NoReturn:
        """Raise that error."""
        raise self.error(words)


@dataclass(frozen=True)
class Search:
    """A number or an option that `loomweight tune` shall choose: `!search [0, 1]`, or a mapping with more to say.

    `!search {low: 1.0e-4, high: 1, log: true}` spreads trials over orders of magnitude, `!search {low: 1, high: 5, whole: true}`
    takes whole numbers, `!search {choice: [ties, linear]}` an option.
    """

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    whole: bool = False
    choice: tuple[Scalar, ...] = ()


@dataclass(frozen=True)
class Item:
    """One value of a YAML document: a scalar, a `Search`, or a list or mapping of items."""

    value: "Scalar | Search | list[Item] | dict[str, Item]"
    place: Place

    def walk(self, path: str = "") -> "Iterator[tuple[str, Item]]":
        """Every item below with its path, such as `models[0].parameters.weight`, this one included."""
        yield path, self
        for step, child in _children(self):
            yield from child.walk(f"{path}{step}".lstrip("."))

    def changed(self, change: "Callable[[str, Item], Item]", path: str = "") -> "Item":
        """The same tree with every leaf through `change(path, item)`."""
        match self.value:
            case dict() as mapping:
                return replace(self, value={key: child.changed(change, f"{path}.{key}".lstrip(".")) for key, child in mapping.items()})
            case list() as items:
                return replace(self, value=[child.changed(change, f"{path}[{i}]") for i, child in enumerate(items)])
        return change(path, self)

    def plain(self) -> Any:
        """The value without places."""
        match self.value:
            case dict() as mapping:
                return {key: child.plain() for key, child in mapping.items()}
            case list() as items:
                return [child.plain() for child in items]
        return self.value


#: entries of a document with its anchors unfolded: more than any recipe needs
_MOST = 100_000
_MERGE = "tag:yaml.org,2002:merge"
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq")}


def _children(item: Item) -> Iterator[tuple[str, Item]]:
    match item.value:
        case dict() as mapping:
            yield from ((f".{key}", child) for key, child in mapping.items())
        case list() as items:
            yield from ((f"[{i}]", child) for i, child in enumerate(items))


def documents(text: str, file: str = "") -> list[Item]:
    """Every YAML document of a text that is not empty.

    Raises:
        RecipeError: it is no YAML, a key stands twice, or a tag is unknown; the message gives the line.

    >>> [item] = documents("dtype: bfloat16")
    >>> item.plain(), item.value["dtype"].place.line
    ({'dtype': 'bfloat16'}, 1)
    """
    reader = _Reader(file)
    try:
        nodes = [node for node in yaml.compose_all(text, yaml.SafeLoader) if node is not None]
        return [reader.item(node) for node in nodes if node.tag != "tag:yaml.org,2002:null"]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        words = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        Place(file, line + 1).refuse(f"this is not YAML: {words}.")
    except RecursionError:
        Place(file, 1).refuse("the document is nested too deeply.")


class _Reader:
    """Turns YAML nodes into items; an anchor's node is turned once, however often it is used."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._done: dict[int, Item] = {}
        self._open: set[int] = set()
        self._sizes: dict[int, int] = {}
        self._copied = 0
        self._scalars = yaml.SafeLoader("")

    def item(self, node: yaml.Node) -> Item:
        key = id(node)
        if key not in self._done:
            place = Place(self.file, node.start_mark.line + 1)
            if key in self._open:
                place.refuse("this anchor contains itself.")
            self._open.add(key)
            self._done[key] = item = Item(self._value(node, place), place)
            self._weigh(item)
            self._open.discard(key)
        return self._done[key]

    def _weigh(self, item: Item) -> None:
        """Refuse what is small as text and larger than any recipe once its anchors are unfolded."""
        size = 1 + sum(self._sizes.get(id(child.value), 1) for _, child in _children(item))
        if size > _MOST:
            item.place.refuse(f"anchors unfold this to more than {_MOST:,} entries; write it out.")
        if isinstance(item.value, dict | list):  # kept in `_done`, so that its id stays its own
            self._sizes[id(item.value)] = size

    def _value(self, node: yaml.Node, place: Place) -> Any:
        if node.tag == "!search":
            return self._search(node, place)
        if node.tag not in _TAGS:
            place.refuse(f"the tag {node.tag!r} is unknown; only !search exists.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.item(child) for child in node.value]
        try:
            value = self._scalars.construct_object(node)
        except (ValueError, LookupError, AttributeError):  # what looks like a number or a date to YAML's grammar and is none: 0x_, 2024-13-45, !!bool maybe
            place.refuse(f"{node.value!r} is no {node.tag.rpartition(':')[2]}; put it in quotes if it is a word.")
        return value if isinstance(value, Scalar) else str(node.value)

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Item]:
        """The mapping with what `<<` merges into it: its own keys win, then the mapping that is named first."""
        self._refuse_twins(node)
        merged: dict[str, Item] = {}
        for key, child in node.value:
            if key.tag == _MERGE:
                for one in self._merged(self.item(child), Place(self.file, key.start_mark.line + 1)):
                    merged = {**one, **merged}
        own = {str(key.value): replace(self.item(child), place=Place(self.file, key.start_mark.line + 1)) for key, child in node.value if key.tag != _MERGE}
        return {**merged, **own}

    def _merged(self, item: Item, place: Place) -> Iterator[dict[str, Item]]:
        for part in item.value if isinstance(item.value, list) else [item]:
            if not isinstance(part.value, dict):
                place.refuse("<< merges a mapping, or a list of mappings, into this one.")
            self._copied += len(part.value)
            if self._copied > _MOST:
                place.refuse(f"anchors merge more than {_MOST:,} entries into mappings; write it out.")
            yield part.value

    def _refuse_twins(self, node: yaml.MappingNode) -> None:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            place = Place(self.file, key.start_mark.line + 1)
            if not isinstance(key, yaml.ScalarNode):
                place.refuse("a key must be a word.")
            if key.value in lines and key.value != "<<":
                place.refuse(f"the key {key.value!r} stands twice, first in line {lines[key.value]}.")
            lines[key.value] = place.line

    def _search(self, node: yaml.Node, place: Place) -> Search:
        if isinstance(node, yaml.SequenceNode) and len(node.value) == 2:
            low, high = (self.item(child).plain() for child in node.value)
            return _search(place, low, high)
        if isinstance(node, yaml.MappingNode):
            told = {key: item.plain() for key, item in self._mapping(node).items()}
            if set(told) == {"choice"} and isinstance(told["choice"], list) and told["choice"]:
                return Search(choice=tuple(told["choice"]))
            if {"low", "high"} <= set(told) <= {"low", "high", "log", "whole"}:
                return _search(place, told["low"], told["high"], told.get("log", False) is True, told.get("whole", False) is True)
        raise place.error("!search needs [low, high], {low, high, log, whole} or {choice: [...]}.")


def _search(place: Place, low: Any, high: Any, log: bool = False, whole: bool = False) -> Search:
    ends = as_number(low), as_number(high)
    if ends[0] is None or ends[1] is None:
        place.refuse(f"the ends of !search must be numbers, found [{low!r}, {high!r}].")
    if not ends[0] <= ends[1] or (log and ends[0] <= 0):
        place.refuse(f"!search needs the lower end first, and above 0 for log; found [{low}, {high}].")
    return Search(ends[0], ends[1], log, whole)


def as_number(value: Any) -> float | None:
    """The value as a finite number, or None. YAML reads 1e-4 as a word; here it is a number.

    >>> as_number("1e-4"), as_number(2), as_number(True), as_number("nan")
    (0.0001, 2, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not isfinite(number):
        return None
    return value if isinstance(value, int) else number
