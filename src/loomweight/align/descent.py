"""Coordinate ascent over the spaces of two weight sets: the inner product never falls."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from types import MappingProxyType

import numpy as np
from torch import Tensor

from ..engines.progress import track
from ..weights.axes.orders import Orders, then
from .families import Family, Place, term_of
from .nested import best_orders
from .pairs import Pair

#: a gain below this part of the product of both norms is rounding
ROUNDING = 1e-12


class Climb:
    """A pair, the orders reached so far, and the inner product that they give.

    Args:
        pair: both sets.
        families: whose orders may change.
        orders: where to start; spaces that are not named stay.
        sizes: of each tensor the product of both norms, if known.
    """

    def __init__(self, pair: Pair, families: Sequence[Family], orders: Orders, sizes: Mapping[str, float] | None = None) -> None:
        self.pair, self.families, self.orders = pair, families, dict(orders)
        self.inner: dict[str, float] = {}
        self.sizes: dict[str, float] = dict(sizes or {})
        for name in dict.fromkeys(name for family in families for name in family.tensors):
            if name in self.sizes:
                self.inner[name] = pair.inner(name, self.orders)
            else:
                self.inner[name], moving, reference = pair.measured(name, self.orders)
                self.sizes[name] = (moving * reference) ** 0.5
        self._due = set(range(len(families)))
        self._near = [[j for j, other in enumerate(families) if set(other.tensors) & set(family.tensors)] for family in families]

    @property
    def total(self) -> float:
        """The inner product, over the tensors whose units may move."""
        return sum(self.inner.values())

    def ascend(self, sweeps: int, seed: int, *, show: bool = False) -> bool:
        """Visit every family in random order until none gains; say whether anything changed.

        A family is not visited again before one that shares a tensor with it has changed: the answer would be the same.
        """
        changed = False
        draw = np.random.default_rng(seed)
        for _ in track(range(sweeps), "weight matching", show=show):
            for number in draw.permutation(len(self.families)).tolist():
                if number in self._due:
                    changed |= self.visit(number)
            if not self._due:
                break
        return changed

    def visit(self, number: int) -> bool:
        """The best orders of one family, the others as they are; taken only where the inner product rises."""
        family = self.families[number]
        self._due.discard(number)
        step = best_orders(family, self.pair.gains(family, self.orders))
        return bool(step) and self.take(number, then(self.pair.axes, self.orders, step))

    def take(self, number: int, orders: Mapping[str, Tensor]) -> bool:
        """Go to orders that differ in one family, if the inner product rises by more than rounding."""
        tensors = self.families[number].tensors
        after = {name: self.pair.inner(name, orders) for name in tensors}
        gain = sum(after[name] - self.inner[name] for name in tensors)
        if not gain > ROUNDING * sum(self.sizes[name] for name in tensors):
            return False
        self.orders, self.inner = dict(orders), self.inner | after
        self._due |= set(self._near[number])
        return True


def started(pair: Pair, families: Sequence[Family], begin: Orders = MappingProxyType({})) -> Climb:
    """At the orders given (by default the identity), or where a first pass leads, if that is higher."""
    here = Climb(pair, families, begin)
    orders = propagated(pair, families, begin)
    there = Climb(pair, families, orders, here.sizes)
    return there if there.total - here.total > ROUNDING * sum(here.sizes.values()) else here


def propagated(pair: Pair, families: Sequence[Family], begin: Orders = MappingProxyType({})) -> dict[str, Tensor]:
    """One family after another, each by what it shares with those already ordered and with axes that stay; most shared first."""
    known = set(pair.axes.spaces) - {name for family in families for name in family.free}
    orders = dict(begin)
    for family in _by_what_is_known(pair, families, known):
        step = best_orders(family, pair.gains(family, orders, known))
        orders = then(pair.axes, orders, step) if step else orders
        known |= set(family.members)
    return orders


def _by_what_is_known(pair: Pair, families: Sequence[Family], known: set[str]) -> Iterator[Family]:
    left = list(families)
    while left:
        shares = [sum(_shared(pair, family, place, known) for place in family.places) for family in left]
        yield left.pop(int(np.argmax(shares)))


def _shared(pair: Pair, family: Family, place: Place, known: set[str]) -> float:
    """Entries of a place, for each of its units, whose other units are known."""
    axes, layout = pair.axes, pair.axes.layouts[place.tensor].axes
    here = term_of(axes, place)
    if not {factor for factor in here if isinstance(factor, str)} <= {*known, *place.carries}:
        return 0.0
    counts = [sum(prod(axes.sizes(term)) for term in terms if {f for f in term if isinstance(f, str)} <= known) for terms in layout]
    counts[place.axis] = prod(axes.sizes(here)) // axes.spaces[family.members[0]].size
    return float(prod(counts))
