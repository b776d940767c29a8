"""What may vary, as a table that people read and write: a line each, kind, where, and the values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadParameter, BrokenFile

#: words that may follow the values of a line
WORDS = ("tied", "spread", "transforms")
_LINE = re.compile(r"^(?P<kind>[a-z_]+)\s+(?P<where>[^:]*?)\s*:\s*(?P<values>.*)$")


@dataclass(frozen=True)
class Line:
    """One line: `width features.* : 16 32 64`.

    Args:
        kind: width, depth, kernel, ... (`loomweight.supernet.KINDS`).
        where: a name or a pattern (`*`, `?`, `[...]`) of layers; empty where the kind needs none.
        values: what it may be; a number with a point, at most 1.0, is a share of what the layer has.
        words: `tied`: one value for all places that match, not one each. `spread`: kept blocks lie evenly, not in front.
            `transforms`: smaller kernels are learned transforms of larger ones.
        number: where it is in its file, for messages.
    """

    kind: str
    where: str
    values: tuple[Any, ...]
    words: tuple[str, ...] = ()
    number: int = 0

    def __post_init__(self) -> None:
        if not self.values:
            raise BadParameter(f"{self.label} gives no value; write `{self.kind} {self.where} : 16 32`.")
        if len(set(map(str, self.values))) < len(self.values):
            raise BadParameter(f"{self.label} gives a value twice: {', '.join(map(str, self.values))}.")
        if bad := [word for word in self.words if word not in WORDS]:
            raise BadParameter(f"{self.label} says {bad[0]!r}; after the values may come: {', '.join(WORDS)}.")

    @property
    def label(self) -> str:
        """How messages call it."""
        place = f"line {self.number} of the space, " if self.number else ""
        return f"{place}`{self.kind}{' ' if self.where else ''}{self.where}`"

    def __str__(self) -> str:
        head = f"{self.kind} {self.where}".rstrip()
        return f"{head} : {' '.join([*map(str, self.values), *self.words])}"


@dataclass(frozen=True)
class SpaceTable:
    """All lines of a space.

    >>> print(SpaceTable.of('''
    ... width 0 : 16 32
    ... depth layers : 2 3 4 spread   # a comment
    ... '''))
    width 0 : 16 32
    depth layers : 2 3 4 spread
    >>> SpaceTable.of({"width": {"0": [16, 32]}}).lines[0]
    Line(kind='width', where='0', values=(16, 32), words=(), number=0)
    """

    lines: tuple[Line, ...]

    def __post_init__(self) -> None:
        if not self.lines:
            raise BadParameter("the space has no line: nothing may vary. Write, for instance, `width * : 0.5 1.0`.")

    @staticmethod
    def of(source: "SpaceTable | str | Path | Mapping[str, Any]") -> "SpaceTable":
        """A table from its text, from a file (`.yaml`, `.yml` or text), or from plain data.

        Data says `{kind: {where: values}}`; values are a list, or `{values: [...], tied: true}`.

        Raises:
            BrokenFile: the file cannot be read, or is no YAML.
            BadParameter: a line cannot be understood.
        """
        match source:
            case SpaceTable():
                return source
            case Mapping():
                return SpaceTable(tuple(_from_data(source)))
            case str() if "\n" in source or ":" in source:
                return SpaceTable(tuple(_from_text(source)))
            case str() | Path() if str(source).strip() not in ("", "."):
                return _from_file(Path(source))
        raise BadParameter(f"a space is a text such as `width 0 : 16 32`, a file or plain data {{kind: {{where: values}}}}; found {source!r}.")

    def data(self) -> dict[str, Any]:
        """The table as plain data, for YAML and JSON."""
        found: dict[str, Any] = {}
        for line in self.lines:
            extra = dict.fromkeys(line.words, True)
            found.setdefault(line.kind, {})[line.where] = {"values": list(line.values), **extra} if extra else list(line.values)
        return found

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines))


def _from_file(path: Path) -> SpaceTable:
    import yaml

    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenFile(f"the space {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if path.suffix not in (".yaml", ".yml"):
        return SpaceTable(tuple(_from_text(text)))
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BrokenFile(f"{path} is no YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(data, Mapping):
        raise BadParameter(f"{path} must map a kind to places, `width: {{features.*: [16, 32]}}`; found {type(data).__name__}.")
    return SpaceTable(tuple(_from_data(data)))


def _from_text(text: str) -> list[Line]:
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        if not (match := _LINE.match(line)):
            raise BadParameter(f"line {number} of the space says {line!r}; write `kind where : value value ...`, as in `width layer1.* : 16 32`.")
        words = match["values"].split()
        lines.append(_line(match["kind"], match["where"], words, number))
    return lines


def _line(kind: str, where: str, items: list[Any], number: int) -> Line:
    end = len(items)
    while end and items[end - 1] in WORDS:
        end -= 1
    return Line(kind, where, tuple(map(_value, items[:end])), tuple(items[end:]), number)


def _from_data(data: Mapping[str, Any]) -> list[Line]:
    lines = []
    for kind, places in data.items():
        for where, told in places.items() if isinstance(places, Mapping) else [("", places)]:
            given = dict(told) if isinstance(told, Mapping) else {"values": told}
            values = given.pop("values", None)
            if not isinstance(values, list | tuple):
                raise BadParameter(f"the space's {kind} {where} needs a list of values, found {values!r}.")
            if bad := [key for key, on in given.items() if not isinstance(on, bool)]:
                raise BadParameter(f"the space's {kind} {where}: {bad[0]} must be true or false, found {given[bad[0]]!r}.")
            lines.append(Line(kind, str(where), tuple(map(_value, values)), tuple(key for key, on in given.items() if on)))
    return lines


def _value(word: Any) -> Any:
    """A number where it is one."""
    if not isinstance(word, str):
        return word
    for number in (int, float):
        try:
            return number(word)
        except ValueError:
            continue
    return word
