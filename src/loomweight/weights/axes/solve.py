"""From facts about units to a table: which units are one, which move alike, and how the axes are made of them."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .labels import Ids, Ledger
from .scales import made_and_consumed

#: a unit's place: space number -> index
Coordinates = Mapping[int, int]


@dataclass
class Found:
    """A space in the making."""

    size: int
    within: tuple[int, ...]
    scales: bool
    hint: str


@dataclass
class Solution:
    """Spaces, the place of every unit in them, the unit in every slot, and a colour that equal units share."""

    spaces: list[Found]
    places: dict[int, Coordinates]
    slots: dict[tuple[str, int], Ids]
    colours: dict[int, int]
    reasons: dict[int, str]


def solve(ledger: Ledger) -> Solution:
    """Units that are one are merged; a unit that must stay carries along what is coarser; the rest falls into spaces."""
    state = _Units(ledger)
    extra: set[int] = set()
    while True:
        solution, bad = state.spaces(extra)
        if not bad:
            return solution
        extra |= bad


class _Units:
    """Merged units, their coarser units, and which of them are fixed."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.root = np.arange(ledger.total)
        pairs = list(ledger.same)
        while True:
            self.root = _components(ledger.total, pairs)
            batches = [self._batch(fine, coarse) for fine, coarse in ledger.coarser]
            found = [pair for fine, coarse in batches for pair in _merges(fine, coarse)] + _twins(batches) + _cycles(ledger.total, batches)
            if not found:
                break
            pairs += found
        self.up: dict[int, set[int]] = defaultdict(set)
        self.down: dict[int, set[int]] = defaultdict(set)
        for fine, coarse in batches:
            for a, c in zip(fine.tolist(), coarse.tolist(), strict=True):
                self.up[a].add(c)
                self.down[c].add(a)
        self.slots = {key: self.root[ids] for key, ids in ledger.slots.items()}
        self.fixed: dict[int, str] = {}
        for ids, why in ledger.frozen:
            for unit in np.unique(self.root[ids]).tolist():
                self.fixed[unit] = self.fixed.get(unit) or why
        made_and_consumed(ledger)
        self.unscaled = self._and_coarser(np.unique(self.root[np.concatenate([np.empty(0, np.int64), *ledger.unscaled])]).tolist())
        self.hints = {int(self.root[unit]): hint for unit, hint in ledger.hints.items()}
        self.first: dict[int, tuple[int, int]] = {}
        for number, ids in enumerate(self.slots.values()):
            for position, unit in enumerate(ids.tolist()):
                self.first.setdefault(unit, (number, position))
        self._order_coarse()

    def _batch(self, fine: Ids, coarse: Ids) -> tuple[Ids, Ids]:
        a, c = self.root[fine], self.root[coarse]
        pairs = np.unique(np.stack([a, c])[:, a != c], axis=1)
        return pairs[0], pairs[1]

    def _order_coarse(self) -> None:
        """A unit without a slot of its own stands where the first of its finer units stands."""
        waiting = [unit for unit in self.down if unit not in self.first]
        while waiting:
            left = []
            for unit in waiting:
                places = [self.first[fine] for fine in self.down[unit] if fine in self.first]
                if places:
                    self.first[unit] = min(places)
                else:
                    left.append(unit)
            if len(left) == len(waiting):
                return
            waiting = left

    def spaces(self, extra: set[int]) -> tuple[Solution, set[int]]:
        """The solution, and units that have to be fixed for there to be one."""
        fixed = self._all_fixed(extra)
        colours = self._colours(fixed)
        groups: dict[int, list[int]] = defaultdict(list)
        for unit in sorted(colours, key=lambda unit: self.first[unit]):
            groups[colours[unit]].append(unit)
        solution = Solution([], {}, self.slots, colours, {unit: self.fixed.get(unit, "") for unit in fixed})
        for group in sorted(groups.values(), key=lambda group: self._depth(group[0], fixed)):
            if not self._placed(group, fixed, solution):
                above = {coarse for unit in group for coarse in self.up[unit]} - fixed
                return solution, set(group) | above
        return solution, set()

    def _all_fixed(self, extra: set[int]) -> set[int]:
        """Fixed units, and all that is coarser than one of them."""
        for unit in extra:
            self.fixed.setdefault(unit, "its units are put together in a way that no table can say")
        return self._and_coarser([*self.fixed, *extra])

    def _and_coarser(self, units: list[int]) -> set[int]:
        todo, found = list(units), set()
        while todo:
            unit = todo.pop()
            if unit not in found:
                found.add(unit)
                todo += self.up[unit]
        return found

    def _colours(self, fixed: set[int]) -> dict[int, int]:
        """Units with the same colour have the same places in the same tensors, and so have all that are coarser or finer."""
        where: dict[int, Counter[int]] = defaultdict(Counter)
        for number, ids in enumerate(self.slots.values()):
            for unit in ids.tolist():
                where[unit][number] += 1
        units = [unit for unit in self.first if unit not in fixed]
        anchors = {unit: frozenset(self.up[unit] & fixed) for unit in units}
        loose = {unit: (tuple(self.up[unit] - fixed), tuple(self.down[unit] - fixed)) for unit in units}
        colours = _numbered({unit: (tuple(sorted(where[unit].items())), anchors[unit]) for unit in units})
        while True:
            finer = _numbered(
                {
                    unit: (colours[unit], frozenset(colours[c] for c in up), tuple(sorted(Counter(colours[f] for f in down).items())))
                    for unit, (up, down) in loose.items()
                }
            )
            if len(set(finer.values())) == len(set(colours.values())):
                return finer
            colours = finer

    def _depth(self, unit: int, fixed: set[int]) -> int:
        above = self.up[unit] - fixed
        return 1 + max(self._depth(coarse, fixed) for coarse in above) if above else 0

    def _placed(self, group: list[int], fixed: set[int], solution: Solution) -> bool:
        """Give every unit of a group its coordinates; false where they do not make a product."""
        fibres: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
        for unit in group:
            place: dict[int, int] = {}
            for coarse in self.up[unit] - fixed:
                for space, index in solution.places[coarse].items():
                    if place.setdefault(space, index) != index:
                        return False
            fibres[tuple(sorted(place.items()))].append(unit)
        within = tuple(space for space, _ in next(iter(fibres)))
        size = len(group) // len(fibres)
        if any(tuple(space for space, _ in place) != within for place in fibres):
            return False
        complete = int(np.prod([solution.spaces[space].size for space in within]))
        if len(fibres) != complete or any(len(units) != size for units in fibres.values()):
            return False
        new = len(solution.spaces)
        if size > 1:
            scales = not self.unscaled.intersection(group)
            solution.spaces.append(Found(size, within, scales, self.hints.get(group[0], "")))
        for shared, units in fibres.items():
            for index, unit in enumerate(units):
                solution.places[unit] = {**dict(shared), **({new: index} if size > 1 else {})}
        return True


def _numbered(keys: Mapping[int, object]) -> dict[int, int]:
    numbers: dict[object, int] = {}
    return {unit: numbers.setdefault(key, len(numbers)) for unit, key in keys.items()}


def _components(total: int, pairs: list[tuple[Ids, Ids]]) -> NDArray[np.int64]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return np.arange(total)
    rows, columns = (np.concatenate(side) for side in zip(*pairs, strict=True))
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), (total, total))
    return _first_of_each(connected_components(graph, directed=False)[1])


def _first_of_each(component: NDArray[np.int32]) -> NDArray[np.int64]:
    """For every unit the first one of its component."""
    return np.unique(component, return_index=True)[1][component].astype(np.int64)


def _cycles(total: int, batches: list[tuple[Ids, Ids]]) -> list[tuple[Ids, Ids]]:
    """Units that are coarser than one another are one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, columns = (np.concatenate([np.empty(0, np.int64), *side]) for side in zip(*batches, strict=True)) if batches else (np.empty(0), np.empty(0))
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), (total, total))
    first = _first_of_each(connected_components(graph, connection="strong")[1])
    moved = np.flatnonzero(first != np.arange(total))
    return [(moved, first[moved])] if len(moved) else []


def _merges(fine: Ids, coarse: Ids) -> list[tuple[Ids, Ids]]:
    """A coarser unit with one finer unit is that unit."""
    values, counts = np.unique(coarse, return_counts=True)
    single = np.isin(coarse, values[counts == 1])
    return [(fine[single], coarse[single])] if single.any() else []


def _twins(batches: list[tuple[Ids, Ids]]) -> list[tuple[Ids, Ids]]:
    """Coarser units over the very same finer units are one."""
    over: dict[bytes, int] = {}
    left, right = [], []
    for fine, coarse in batches:
        order = np.lexsort((fine, coarse))
        cuts = np.flatnonzero(np.diff(coarse[order])) + 1
        for members, owner in zip(np.split(fine[order], cuts), np.split(coarse[order], cuts), strict=True):
            if len(owner) and over.setdefault(members.tobytes(), int(owner[0])) != int(owner[0]):
                left.append(over[members.tobytes()])
                right.append(int(owner[0]))
    return [(np.array(left), np.array(right))] if left else []
