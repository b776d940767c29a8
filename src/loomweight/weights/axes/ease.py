"""What is given up where a table cannot say all that is free: as little as leaves the rest sayable.

Fused attention stores queries, keys and values head by head: (heads, 3, dims) along one axis. Where dims of queries and of values are
exchanged apart, that axis is no product. Then the two are given one order, `(heads 3 dims)`; where that cannot be (rotary positions hold some of
the dims), dims keep their places in their heads, `(heads 12)`, and heads are still exchanged; and at last all of it stays.
"""

from collections.abc import Iterator

import numpy as np

from ..names import listed
from .labels import Ledger
from .solve import Solution

#: space, index in it
Place = tuple[int, int]


class Ease:
    """Takes freedom from units whose order no table can say, a step at a time; every step only adds facts, so what is left is still right."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.tied: set[int] = set()
        self.held: set[int] = set()

    def step(self, solution: Solution, bad: set[int]) -> None:
        """The next smallest thing to give up."""
        inner = {unit: place for unit in bad if (place := _inside(solution, unit))}
        if pairs := list(self._alike(solution, {unit: place for unit, place in inner.items() if unit not in self.tied})):
            self.tied |= {unit for pair in pairs for unit in pair}
            left, right = np.array(pairs).T
            self.ledger.same.append((left, right))
        elif rest := {unit: place for unit, place in inner.items() if unit not in self.held}:
            self.held |= rest.keys()
            self._hold(rest)
        else:
            self.ledger.frozen.append((np.array(sorted(bad)), "its units are in an order that no table can say"))

    def notes(self, solution: Solution) -> Iterator[str]:
        """What was given up, a sentence each."""
        tensors: dict[bool, dict[str, None]] = {}
        for (tensor, _), units in solution.slots.items():
            if (here := set(units.tolist())) & (self.tied | self.held):
                tensors.setdefault(bool(here & self.held), {})[tensor] = None
        for held, names in tensors.items():
            what = "keep their places there" if held else "have one order for queries, keys and values"
            yield f"units inside the heads of {listed(names)} {what}: they are stored head by head"

    def _alike(self, solution: Solution, inner: dict[int, Place]) -> Iterator[tuple[int, int]]:
        """Pairs of units at the same place of spaces of one size in the same heads, along an axis that is made of such spaces alone."""
        for units in solution.slots.values():
            here = list(dict.fromkeys(units.tolist()))
            if not all(unit in inner for unit in here) or len({self._kind(solution, inner[unit]) for unit in here}) > 1:
                continue
            first: dict[tuple[object, ...], int] = {}
            for unit in here:
                own, index = inner[unit]
                heads = tuple(sorted((parent, at) for parent, at in solution.places[unit].items() if parent != own))
                other = first.setdefault((heads, index), unit)
                if other != unit:
                    yield other, unit

    def _kind(self, solution: Solution, place: Place) -> tuple[tuple[int, ...], int]:
        return solution.spaces[place[0]].within, solution.spaces[place[0]].size

    def _hold(self, inner: dict[int, Place]) -> None:
        """Units keep their places in what they lie in."""
        different, which = np.unique(list(inner.values()), axis=0, return_inverse=True)
        marks = self.ledger.fresh(len(different))
        self.ledger.frozen.append((marks, ""))
        self.ledger.coarser.append((np.array(list(inner)), marks[which.ravel()]))


def _inside(solution: Solution, unit: int) -> Place | None:
    """(space, index in it) of a unit whose own space lies in others."""
    place = solution.places.get(unit, {})
    own = max(place, default=-1)
    return (own, place[own]) if own >= 0 and solution.spaces[own].within else None
