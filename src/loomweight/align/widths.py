"""Which pairs of units become one and which stay two; the table of the wider network, and where each of its entries is from.

Of a space of n units of which m pairs are merged, the wider network has 2 n - m: the merged ones, then those that only the first network
has, then those that only the second has.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from ..errors import BadParameter, unknown
from ..weights import Weights
from ..weights.axes import Axes, Axis, Term

#: who has an entry: a bit for each network
FIRST, SECOND, BOTH = 1, 2, 3


@dataclass(frozen=True)
class Size:
    """A budget for the width: at most `times` the parameters of one network; the share of merged pairs is the same in every space.

    >>> Size(1.5)
    Size(times=1.5)
    """

    times: float

    def __post_init__(self) -> None:
        if not self.times >= 1:
            raise BadParameter(f"a budget is a multiple of one network's parameters, at least 1 (then all pairs are merged); found times = {self.times}.")


#: the share of pairs that are merged: everywhere, by space (others are merged whole), or from a budget
Fraction = float | Mapping[str, float] | Size


@dataclass(frozen=True)
class Origin:
    """Along an axis of the wider network: the place in the old one, and who has it."""

    place: Tensor
    owner: Tensor

    def share(self, who: int) -> Tensor:
        """The weight of a network's entry in an average over those that have it; 0 where it has none."""
        has = (self.owner & who).bool()
        return has.double() / (1.0 + (self.owner == BOTH))


@dataclass(frozen=True)
class Widths:
    """The pairs that are merged, in every space that is split; all others are merged whole.

    Args:
        axes: of one network.
        merged: space -> which pairs become one, ascending.
    """

    axes: Axes
    merged: Mapping[str, Tensor]

    @cached_property
    def units(self) -> dict[str, Origin]:
        """Space -> where its units are from."""
        found = {}
        for name, kept in self.merged.items():
            apart = torch.ones(self.axes.spaces[name].size, dtype=torch.bool)
            apart[kept] = False
            rest = apart.nonzero().flatten()
            owner = torch.tensor([BOTH] * len(kept) + [FIRST] * len(rest) + [SECOND] * len(rest))
            found[name] = Origin(torch.cat([kept, rest, rest]), owner)
        return found

    @cached_property
    def wide(self) -> Axes:
        """The table of the wider network."""
        spaces = {name: replace(space, size=len(self.units[name].place)) if name in self.units else space for name, space in self.axes.spaces.items()}
        return Axes(spaces, self.axes.layouts, self.axes.how, self.axes.notes)

    def along(self, axis: Axis) -> Origin:
        """Where the entries along an axis are from."""
        parts, begin = [], 0
        for term in axis:
            parts.append(self._term(term, begin))
            begin += self.axes.length((term,))
        return Origin(torch.cat([part.place for part in parts]), torch.cat([part.owner for part in parts]))

    def _term(self, term: Term, begin: int) -> Origin:
        place, owner = torch.tensor([begin]), torch.tensor([BOTH])
        sizes = self.axes.sizes(term)
        for i, (factor, size) in enumerate(zip(term, sizes, strict=True)):
            units = self.units.get(str(factor)) or Origin(torch.arange(size), torch.full((size,), BOTH))
            place = (place[:, None] + units.place * prod(sizes[i + 1 :])).flatten()
            owner = (owner[:, None] & units.owner).flatten()
        return Origin(place, owner)


def counts(axes: Axes, fraction: Fraction, weights: Weights) -> dict[str, int]:
    """Space -> how many of its pairs are merged, for the spaces that are split. Spaces inside others are merged whole.

    Raises:
        UnknownName: no such space.
        BadParameter: a share outside of [0, 1], or one for a space inside others.
    """
    if isinstance(fraction, Size):
        return _within(axes, fraction.times, weights)
    wanted = fraction if isinstance(fraction, Mapping) else {name: fraction for name, space in axes.spaces.items() if not space.within}
    for name, share in wanted.items():
        if name not in axes.spaces:
            raise unknown("space", name, axes.spaces)
        if not 0 <= share <= 1:
            raise BadParameter(f"the share of merged units lies between 0 (all stay, twice the width) and 1 (all are merged), found {share} for {name!r}.")
        if share < 1 and axes.spaces[name].within:
            raise BadParameter(f"units of {name!r} lie inside those of {axes.spaces[name].within}, each the same number; give the share of the outer space.")
    return {name: round(share * axes.spaces[name].size) for name, share in wanted.items() if round(share * axes.spaces[name].size) < axes.spaces[name].size}


def _within(axes: Axes, times: float, weights: Weights) -> dict[str, int]:
    """The smallest share, in thousandths, with which the parameters stay inside the budget."""
    limit = times * sum(weights.spec[name].numel for name in weights.physical)
    step = bisect_left(range(1001), True, key=lambda step: _parameters(axes, counts(axes, step / 1000, weights), weights) <= limit)
    return counts(axes, step / 1000, weights)


def _parameters(axes: Axes, merged: Mapping[str, int], weights: Weights) -> int:
    wide = Widths(axes, {name: torch.arange(count) for name, count in merged.items()}).wide
    return sum(prod(wide.expected(name)) for name in weights.physical)
