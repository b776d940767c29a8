"""The tables' language: a line for every space that needs one, a line for every tensor.

    h.*.attn.heads = 12                                  # a space and its size; not needed where a tensor's shape tells it
    h.*.attn.dims = 64 in h.*.attn.heads                 # dims are exchanged inside each head
    h.*.mlp.fc1 = 256 scales                             # a unit may be multiplied by a positive number and divided out behind (ReLU)
    wte.weight : 50257 wte                               # a number counts entries that stay; `_` is an axis that stays, of any size
    h.*.attn.q.weight : (h.*.attn.heads h.*.attn.dims) <- wte
    h.*.mlp.fc2.weight : wte <- h.*.mlp.fc1              # the axis behind the arrow is the one that is summed over
    fc.weight : hidden <- (conv 49)                      # each of conv's units is 49 entries in a row
    lstm.weight_hh_l0 : (4 lstm) <- lstm
    mix.weight : out <- (left + right)                   # left's units, then right's
    ln.* : wte
    steps : ...                                          # all axes stay

`*` stands for one part of a name between dots; in what follows the colon it stands for the same part again. `#` begins a comment.
"""

import re
from dataclasses import dataclass

from ...errors import BadParameter
from .table import Axes, Axis, Layout, Space

_SPACE = re.compile(r"(?P<name>\S+)\s*=\s*(?P<size>\d+)(?:\s+(?:in\s+(?P<within>.+)|(?P<scales>scales)))?$")
_TENSOR = re.compile(r"(?P<pattern>\S+)\s*:\s*(?P<axes>.*)$")
_TOKEN = re.compile(r"\s*(<-|->|[()+]|[^\s()+]+)")


@dataclass(frozen=True)
class Row:
    """One tensor line: names it speaks of, axes still with `*`, and where the arrow is. `axes` is None for `...`."""

    pattern: str
    axes: tuple[Axis | None, ...] | None
    consumed: int | None
    line: int


@dataclass(frozen=True)
class Text:
    """A table as it is written, before it meets a checkpoint: names may still have `*`."""

    rows: tuple[Row, ...]
    spaces: tuple[Space, ...]


def parsed(text: str) -> Text:
    """Read a table.

    Raises:
        BadParameter: a line is not understood; the message gives its number.
    """
    rows, spaces = [], []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#")[0].strip()
        if not line:
            continue
        if found := _SPACE.match(line):
            spaces.append(Space(found["name"], int(found["size"]), tuple((found["within"] or "").split()), bool(found["scales"])))
        elif found := _TENSOR.match(line):
            rows.append(_row(found["pattern"], found["axes"], number))
        else:
            raise BadParameter(f"line {number} of the axes table is neither 'tensor : axes' nor 'space = size': {raw.strip()!r}.")
    return Text(tuple(rows), tuple(spaces))


def _row(pattern: str, written_axes: str, line: int) -> Row:
    if written_axes.strip() == "...":
        return Row(pattern, None, None, line)
    tokens = _TOKEN.findall(written_axes)
    axes: list[Axis | None] = []
    consumed = None
    while tokens:
        token = tokens.pop(0)
        if token in ("<-", "->"):
            if consumed is not None or not axes or not tokens:
                raise BadParameter(f"line {line} of the axes table: one arrow, between two axes, is allowed; found {written_axes!r}.")
            consumed = len(axes) if token == "<-" else len(axes) - 1
        elif token == "(":
            axes.append(_bracket(tokens, line))
        elif token in (")", "+"):
            raise BadParameter(f"line {line} of the axes table: {token!r} without '(' before it in {written_axes!r}.")
        else:
            axes.append(None if token == "_" else ((_factor(token),),))
    return Row(pattern, tuple(axes), consumed, line)


def _bracket(tokens: list[str], line: int) -> Axis:
    terms: list[list[int | str]] = [[]]
    while tokens:
        token = tokens.pop(0)
        if token == ")" and all(terms):
            return tuple(tuple(term) for term in terms)
        if token == "+":
            terms.append([])
        elif token in ("(", ")", "<-", "->"):
            break
        else:
            terms[-1].append(_factor(token))
    raise BadParameter(f"line {line} of the axes table: a bracket holds products of names and numbers, joined by '+', and is closed by ')'.")


def _factor(token: str) -> int | str:
    return int(token) if token.isdigit() else token


def filled(word: str, parts: tuple[str, ...]) -> str:
    """The `*`s of a name, one after another, by the parts that the tensor's name has there.

    >>> filled("h.*.mlp", ("3",))
    'h.3.mlp'
    """
    rest = iter(parts)
    return re.sub(r"\*", lambda star: next(rest, star.group()), word)


def match(pattern: str, name: str) -> tuple[str, ...] | None:
    """What the `*`s of a pattern stand for in a name; None where it does not match.

    >>> match("h.*.w", "h.3.w"), match("h.*.w", "h.3.b")
    (('3',), None)
    """
    found = re.fullmatch(re.escape(pattern).replace(r"\*", r"([^.]+)"), name)
    return found.groups() if found else None


def written(axes: Axes) -> str:
    """The table as text; layers that are alike are one line."""
    spaces = [_space_line(space) for space in axes.spaces.values()]
    lines = [f"{name} : {_layout_words(layout)}" for name, layout in axes.layouts.items()]
    notes = [f"# {note}" for note in (f"found by {axes.how}" if axes.how != "by hand" else "", *axes.notes) if note]
    return "\n".join([*notes, *_starred(spaces), *_starred(lines)])


def _space_line(space: Space) -> str:
    return f"{space.name} = {space.size}" + (f" in {' '.join(space.within)}" if space.within else " scales" if space.scales else "")


def _layout_words(layout: Layout) -> str:
    words = [_axis_words(axis) for axis in layout.axes]
    if layout.consumed is not None and len(words) > 1:
        words.insert(max(layout.consumed, 1), "<-" if layout.consumed else "->")
    return " ".join(words)


def _axis_words(axis: Axis) -> str:
    inside = " + ".join(" ".join(map(str, term)) for term in axis)
    return inside if len(axis) == 1 and len(axis[0]) == 1 else f"({inside})"


def _starred(lines: list[str]) -> list[str]:
    """Lines that differ in layer numbers alone, once, with `*` for the number; only where it speaks of no other name too."""
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(_star(line), []).append(line)
    heads = [_head(line) for line in lines]
    out: dict[str, None] = {}
    for line in lines:
        star = _star(line)
        alone = len(groups[star]) == 1 or sum(match(_head(star), head) is not None for head in heads) > len(groups[star])
        out[line if alone else star] = None
    return list(out)


def _head(line: str) -> str:
    """The name that a line is about."""
    return re.split(r"\s[:=]\s?", line)[0]


def _star(line: str) -> str:
    """The line with `*` for the number in its name, where there is one number and no other number is named behind it."""
    numbers = [part for part in _head(line).split(".") if part.isdigit()]
    if len(numbers) != 1 or any(set(_numbers(word)) - set(numbers) for word in line.split()):
        return line
    return re.sub(rf"(?<=\.){numbers[0]}(?=\.|\s|\)|$)", "*", line)


def _numbers(word: str) -> list[str]:
    return [part for part in word.strip("()").split(".") if part.isdigit()] if "." in word else []
