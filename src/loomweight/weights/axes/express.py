"""Write a solution as a table: every axis as products and sums of spaces, every space under a name."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .solve import Found, Solution
from .table import Axes, Layout, Space, Term


def expressed(solution: Solution, consumed: set[tuple[str, int]], shapes: Mapping[str, Sequence[int]]) -> tuple[Axes | None, set[int]]:
    """The table; or None, and the units whose order no table can say.

    Args:
        solution: units and their places.
        consumed: (tensor, axis) pairs that products sum over.
        shapes: of all stored tensors, in the order of the table; those that the trace never met stay as they are.
    """
    axes: dict[tuple[str, int], list[tuple[int, ...]]] = {}
    bad: set[int] = set()
    for name, shape in shapes.items():
        for axis, size in enumerate(shape):
            units = solution.slots.get((name, axis))
            found = [(size,)] if units is None else _axis(solution, units.tolist())
            if found is None:
                bad |= {unit for unit in units.tolist() if solution.places.get(unit)} if units is not None else set()
            else:
                axes[name, axis] = found
    if bad:
        return None, bad
    names = _named(solution.spaces, axes, consumed, shapes)
    layouts = {}
    for name, shape in shapes.items():
        rows = tuple(tuple(_worded(term, names, solution.spaces) for term in axes[name, axis]) for axis in range(len(shape)))
        eaten = [axis for axis in range(len(shape)) if (name, axis) in consumed]
        layouts[name] = Layout(rows, eaten[0] if len(eaten) == 1 else None)
    spaces = {}
    parents = {parent for found in solution.spaces for parent in found.within}
    for number, found in enumerate(solution.spaces):
        if number in names:
            spaces[names[number]] = Space(
                names[number], found.size, tuple(names[parent] for parent in found.within), found.scales and not found.within and number not in parents
            )
    return Axes(spaces, layouts), set()


def _axis(solution: Solution, units: list[int]) -> list[tuple[int, ...]] | None:
    """Terms of an axis; a factor is a size, or -1 - number of a space. None where the order is not that of a product."""
    places = [solution.places.get(unit, {}) for unit in units]
    colours = np.array([solution.colours.get(unit, -1) for unit in units])
    terms, begin = [], 0
    while begin < len(units):
        end = begin
        while end < len(units) and places[end].keys() == places[begin].keys():
            end += 1
        term = _term(solution.spaces, places[begin:end], colours[begin:end])
        if term is None:
            return None
        terms.append(term)
        begin = end
    return terms


def _term(spaces: list[Found], places: Sequence[Mapping[int, int]], colours: NDArray[np.int64]) -> tuple[int, ...] | None:
    """One product: every coordinate must run like a digit of the position."""
    left = len(places)
    if not places[0]:
        return (left,)
    strides = {}
    for space in places[0]:
        index = np.array([place[space] for place in places])
        stride = int(np.argmax(index != index[0]))
        if not stride or (index != (np.arange(left) // stride) % spaces[space].size).any():
            return None
        strides[space] = stride
    factors: list[int] = []
    for space, stride in sorted(strides.items(), key=lambda item: -item[1]):
        lead, rest = divmod(left, spaces[space].size * stride)
        if rest:
            return None
        factors += [lead] * (lead > 1) + [-1 - space]
        left = stride
    factors += [left] * (left > 1)
    sizes = [spaces[-1 - factor].size if factor < 0 else factor for factor in factors]
    grid = colours.reshape(sizes)
    for axis, factor in enumerate(factors):
        if factor < 0 and (grid != grid.take([0], axis)).any():
            return None
    return tuple(factors)


def _worded(term: Sequence[int], names: Mapping[int, str], spaces: Sequence[Found]) -> Term:
    """A term with names; neighbouring numbers are multiplied."""
    words: list[int | str] = []
    for factor in term:
        word = names[-1 - factor] if factor < 0 else factor
        if isinstance(word, int) and words and isinstance(words[-1], int):
            words[-1] = words[-1] * word
        else:
            words.append(word)
    return tuple(words)


Terms = Mapping[tuple[str, int], Sequence[Sequence[int]]]


def _named(spaces: Sequence[Found], axes: Terms, consumed: set[tuple[str, int]], shapes: Mapping[str, Sequence[int]]) -> dict[int, str]:
    """A space is named after the module that makes its units: the first whose tensor has them on an axis that it does not sum over."""
    homes: dict[int, tuple[bool, int, str]] = {}
    order = {name: number for number, name in enumerate(shapes)}
    for (tensor, axis), terms in axes.items():
        for factor in (factor for term in terms for factor in term if factor < 0):
            claim = ((tensor, axis) in consumed or len(shapes[tensor]) < 2, order[tensor], tensor.rpartition(".")[0] or tensor)
            homes[-1 - factor] = min(homes.get(-1 - factor, claim), claim)
    words = _words(spaces, axes, consumed, homes)
    names: dict[int, str] = {}
    for number, (_, _, module) in sorted(homes.items(), key=lambda item: item[0]):
        home = f"layer.{module}" if module.isdigit() else module  # a bare number would be read as a size
        choices = [f"{home}.{word}" if word else home for word in words[number]]
        choices += (f"{choices[0]}_{count}" for count in range(2, len(spaces) + 2))
        names[number] = next(choice for choice in choices if choice not in names.values())
    return names


def _words(spaces: Sequence[Found], axes: Terms, consumed: set[tuple[str, int]], homes: Mapping[int, object]) -> dict[int, list[str]]:
    """What to call a space behind its module's name, and what if that is taken: heads, the queries of a head, its dims, its values."""
    parents = {parent for number in homes for parent in spaces[number].within}
    last = {-1 - term[-1] for terms in axes.values() for term in terms}
    eaten = {-1 - factor for place in consumed for term in axes.get(place, ()) for factor in term}
    found = {}
    for number in homes:
        if not spaces[number].within:
            found[number] = [spaces[number].hint if number in parents else ""]
        elif number in last:
            found[number] = ["dims", *(["values"] if number in eaten else [])]
        else:
            found[number] = ["queries"]
    return found
