"""What makes the units of a space, in two networks, as rows that can be compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..edits.carry import UnitMap, UnitOrder, carried
from ..errors import NonFinite
from ..weights import Weights, matches
from ..weights.axes.table import Axes, Layout, Use
from .assignment import same_rows

#: larger products are in float32, summed in float64 over pieces of this many columns
PIECE = 1 << 12
_LARGE = 1 << 27


@dataclass(frozen=True)
class Side:
    """A network and its table."""

    axes: Axes
    weights: Weights

    def use(self, use: Use) -> tuple[Layout, Tensor]:
        """The part of a tensor that is the term of a use, and its layout."""
        layout = self.axes.layouts[use.tensor]
        axis = layout.axes[use.axis]
        begin, length = self.axes.length(axis[: use.term]), self.axes.length((axis[use.term],))
        tensor = self.weights[use.tensor]
        axes = (*layout.axes[: use.axis], (axis[use.term],), *layout.axes[use.axis + 1 :])
        return Layout(axes, layout.consumed), tensor.narrow(use.axis, begin, length).to(torch.promote_types(tensor.dtype, torch.float32))


@dataclass
class MakingRows:
    """Rows of the moving network, carried by the maps known so far, and of the reference.

    Args:
        moving: the side that is carried.
        reference: the side that stays.
        statistics: name patterns of tensors that do not count.
        maps: space -> map, of the spaces aligned so far.
    """

    moving: Side
    reference: Side
    statistics: tuple[str, ...]
    maps: dict[str, UnitMap | UnitOrder] = field(default_factory=dict)

    def uses(self, space: str) -> list[Use]:
        """Where the units are made; everywhere, if they are made nowhere that counts."""
        both = set(self.moving.weights.ties.values())
        found = [use for use in self.moving.axes.uses(space) if self._counts(use.tensor)]
        making = [use for use in found if use.axis != self.moving.axes.layouts[use.tensor].consumed or use.tensor in both]
        return making or found

    def _counts(self, name: str) -> bool:
        weights = self.moving.weights
        return name in weights.spec and name not in weights.ties and weights.spec[name].averages and not any(matches(p, name) for p in self.statistics)

    def unknown(self, use: Use, family: set[str]) -> set[tuple[int, int]]:
        """(axis, factor) of the terms of a use, where units are not aligned yet; -1 for a whole axis. The family itself is no part of it."""
        layout = self.moving.axes.layouts[use.tensor]
        found: set[tuple[int, int]] = set()
        for place, axis in enumerate(layout.axes):
            if place == use.axis:
                found |= {(place, i) for i, factor in enumerate(axis[use.term]) if isinstance(factor, str) and factor not in family and factor not in self.maps}
            elif any(isinstance(factor, str) and factor not in self.maps for term in axis for factor in term):
                found.add((place, -1))
        return found

    def pairs(self, space: str, family: set[str]) -> Iterator[tuple[Tensor, Tensor]]:
        """(parents, units, entries) of both sides, for every tensor that is ready; where none is, axes not yet aligned are replaced by norms."""
        uses = self.uses(space)
        ready = [use for use in uses if not self.unknown(use, family) and not self._entangled(use, space, family)]
        for use in ready or uses:
            yield self._rows(self.moving, use, space, family, self.maps), self._rows(self.reference, use, space, family, {})

    def _entangled(self, use: Use, space: str, family: set[str]) -> bool:
        """The term holds other units of the family, whose own order is not known."""
        term = self.moving.axes.layouts[use.tensor].axes[use.axis][use.term]
        return bool(family & set(term) - {space, *self.moving.axes.spaces[space].within})

    def _rows(self, side: Side, use: Use, space: str, family: set[str], maps: Mapping[str, UnitMap | UnitOrder]) -> Tensor:
        layout, tensor = side.use(use)
        tensor = carried(side.axes, layout, tensor, maps, {use.axis: sorted(family)})
        (term,) = layout.axes[use.axis]
        own = (*self.moving.axes.spaces[space].within, space)
        sizes = [(side.axes if factor in family else self.reference.axes).sizes((factor,))[0] for factor in term]
        hidden = self.unknown(use, family)
        sizes = [side.axes.sizes((factor,))[0] if (use.axis, i) in hidden else size for i, (factor, size) in enumerate(zip(term, sizes, strict=True))]
        norms = [use.axis + i for i, factor in enumerate(term) if factor not in own and ((use.axis, i) in hidden or factor in family)]
        norms += [place + (len(term) - 1 if place > use.axis else 0) for place, i in hidden if i < 0]
        if not tensor.isfinite().all():
            which = "reference" if side is self.reference else "moving"
            raise NonFinite(f"tensor {use.tensor!r} of the {which} network holds NaN or Inf, so its units cannot be compared; look for what diverged there.")
        grid = tensor.unflatten(use.axis, sizes)
        if norms:
            grid = grid.norm(dim=norms, keepdim=True)
        grid = grid.movedim([use.axis + term.index(name) for name in own], list(range(len(own))))
        return grid.reshape(-1, grid.shape[len(own) - 1], grid[(0,) * len(own)].numel())


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """(parents, units, parents, units) in float64, from rows (parents, units, entries). Equal rows get equal distances, to the bit."""
    a, b = first.flatten(0, 1), second.flatten(0, 1).to(first.device)
    if len(a) * len(b) * a.shape[1] < _LARGE:
        a, b = a.double(), b.double()
    total = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    for lo in range(0, a.shape[1], PIECE):
        x, y = a[:, lo : lo + PIECE], b[:, lo : lo + PIECE]
        total += (x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T).double()
    total = total.clamp_min(0).cpu()[_first_equal(a)][:, _first_equal(b)]
    return total.unflatten(1, second.shape[:2]).unflatten(0, first.shape[:2])


def _first_equal(rows: Tensor) -> Tensor:
    """For each row the first that is equal to it."""
    return torch.from_numpy(same_rows(rows.cpu().numpy()))
