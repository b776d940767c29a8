"""The walk over the spaces of two networks: costs, plans, maps."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..edits.carry import UnitMap, UnitOrder
from ..errors import BadParameter, NonFinite
from ..weights.axes.table import Axes, Use
from .making_rows import MakingRows, squared_distances
from .transport import Transport

#: space -> squared distances (parents, units of the moving network, parents, units of the reference); parents are 1 where there are none
Costs = Mapping[str, Tensor]


class Walk:
    """Spaces one after another from the input on, each with what lies in it.

    Args:
        rows: both networks, and the maps found so far.
        transport: how units are transported.
        costs: of the spaces whose costs do not come from weights.
    """

    def __init__(self, rows: MakingRows, transport: Transport, costs: Costs) -> None:
        self.rows, self.transport, self.costs = rows, transport, costs
        self.axes, self.target = rows.moving.axes, rows.reference.axes
        self.roots = [name for name, space in self.axes.spaces.items() if not space.within]
        self.version: dict[str, int] = dict.fromkeys(self.axes.spaces, 0)
        self.seen: dict[str, tuple[int, ...]] = {}
        specs = [spec for side in (rows.moving, rows.reference) for spec in side.weights.spec.values() if spec.averages]
        #: maps are kept in the precision in which weights are carried
        self.work = torch.float64 if any(spec.work == torch.float64 for spec in specs) else torch.float32

    def run(self) -> None:
        """Visit every space, first those whose inputs are aligned; then all of them again, as often as the transport says."""
        left = list(self.roots)
        while left:
            root = next((name for name in left if self._ready(name)), left[0])
            left.remove(root)
            self._visit(root)
        for _ in range(self.transport.rounds - 1):
            for root in self.roots:
                self._visit(root)

    def _family(self, root: str) -> list[str]:
        return [root, *(name for name, space in self.axes.spaces.items() if space.within == (root,))]

    def _ready(self, root: str) -> bool:
        family = self._family(root)
        return any(not self.rows.unknown(use, set(family)) for name in family for use in self.rows.uses(name))

    def _visit(self, root: str) -> None:
        """Unless all that its costs depend on is as it was at the last visit."""
        around = tuple(self.version[name] for name in self._neighbours(root))
        if self.seen.get(root) == around:
            return
        self.seen[root] = around
        found = self._maps(root)
        if any(name not in self.rows.maps or not _same(self.rows.maps[name], new) for name, new in found.items()):
            for name in found:
                self.version[name] += 1
            self.rows.maps |= found

    def _neighbours(self, root: str) -> list[str]:
        tensors = {use.tensor for name in self._family(root) for use in self.rows.uses(name)}
        near = {f for tensor in tensors for axis in self.axes.layouts[tensor].axes for term in axis for f in term if isinstance(f, str)}
        return sorted(near)

    def _maps(self, root: str) -> dict[str, UnitMap | UnitOrder]:
        _, *children = self._family(root)
        sizes, others = self.axes.spaces[root].size, self.target.spaces[root].size
        outer, mass, other_mass = torch.zeros(sizes, others, dtype=torch.float64), torch.zeros(sizes).double(), torch.zeros(others).double()
        inner: dict[str, Tensor] = {}
        for child in children:
            cost, masses, other_masses = self._cost(child, root)
            inner[child], values = self._inner(cost, masses, other_masses)
            outer, mass, other_mass = outer + values, mass + masses.sum(1), other_mass + other_masses.sum(1)
        if any(not self._within_children(use, children) for use in self.rows.uses(root)) or root in self.costs:
            cost, masses, other_masses = self._cost(root, root)
            outer, mass, other_mass = outer + cost[0, :, 0], mass + masses[0], other_mass + other_masses[0]
        found = self._map(self.transport.plan(outer, self.transport.masses(mass), self.transport.masses(other_mass)))
        return {root: found, **{child: _of_pairs(self._map(plans.transpose(0, 1)), found) for child, plans in inner.items()}}

    def _map(self, plan: Tensor) -> UnitMap | UnitOrder:
        found = self.transport.unit_map(plan)
        return found if found.order is not None else UnitMap(found.makes.to(self.work), found.consumes.to(self.work))

    def _within_children(self, use: Use, children: Sequence[str]) -> bool:
        term = self.axes.layouts[use.tensor].axes[use.axis][use.term]
        return bool(set(term) & set(children))

    def _cost(self, space: str, root: str) -> tuple[Tensor, Tensor, Tensor]:
        """Distances (parents, units, parents, units), and sizes (parents, units) of what makes the units of both sides."""
        parents = [parents_of(side.axes, space) for side in (self.rows.moving, self.rows.reference)]
        units = [side.axes.spaces[space].size for side in (self.rows.moving, self.rows.reference)]
        total = torch.zeros(parents[0], units[0], parents[1], units[1], dtype=torch.float64)
        sizes = [torch.zeros(p, n, dtype=torch.float64) for p, n in zip(parents, units, strict=True)]
        power = 1 if self.transport.mass == "l1" else 2
        given = self.costs.get(space)
        if given is None or self.transport.mass != "uniform":
            for first, second in self.rows.pairs(space, set(self._family(root))):
                total += squared_distances(first, second) if given is None else 0
                if self.transport.mass != "uniform":
                    sizes = [size + part.double().abs().pow(power).sum(-1).cpu() for size, part in zip(sizes, (first, second), strict=True)]
        if given is not None:
            if given.shape != total.shape:
                raise BadParameter(f"costs of space {space!r} must have shape {tuple(total.shape)}, found {tuple(given.shape)}.")
            if not given.isfinite().all():
                raise NonFinite(f"costs of space {space!r} hold NaN or Inf; look at the activations that they are made of.")
            total = given.double().cpu()
        return total if self.transport.squared else total.sqrt(), sizes[0] ** (1 / power), sizes[1] ** (1 / power)

    def _inner(self, cost: Tensor, mass: Tensor, other_mass: Tensor) -> tuple[Tensor, Tensor]:
        """The plans inside every pair of parents, (parents, reference parents, units, units), and what they cost."""
        masses, others = self.transport.masses(mass), self.transport.masses(other_mass)
        plans = [[self.transport.plan(cost[h, :, k], masses[h], others[k]) for k in range(cost.shape[2])] for h in range(cost.shape[0])]
        stacked = torch.stack([torch.stack(row) for row in plans])
        return stacked, (stacked * cost.permute(0, 2, 1, 3)).sum((-2, -1)) * cost.shape[3]


def parents_of(axes: Axes, space: str) -> int:
    """How many units a space's parents have together."""
    return torch.Size(axes.shape(space)[:-1]).numel()


def _of_pairs(found: UnitMap | UnitOrder, outer: UnitMap | UnitOrder) -> UnitMap | UnitOrder:
    """The map inside pairs of parents (reference parents, parents, ...); where every new parent is one old one, inside each new parent."""
    old = outer.makes.argmax(1) if outer.order is None else outer.order
    if outer.order is None and not (outer.makes.gather(1, old[:, None]) == 1).all():
        return UnitMap(found.makes, found.consumes)
    new = torch.arange(len(old))
    return UnitMap(found.makes[new, old], found.consumes[new, old]) if found.order is None else UnitOrder(found.order[new, old])


def _same(first: UnitMap | UnitOrder, second: UnitMap | UnitOrder) -> bool:
    if first.order is None or second.order is None:
        return first.order is second.order and torch.equal(first.makes, second.makes)
    return torch.equal(first.order, second.order)
