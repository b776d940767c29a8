"""Carry a network into other coordinates of its units, perhaps of another width.

Paper: Model Fusion via Optimal Transport (2019, https://arxiv.org/abs/1910.05653), whose transport maps are such matrices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..errors import BadParameter, IntegersDiffer, NamesDiffer, ShapesDiffer, unknown
from ..weights import Block, Spec, Weights
from ..weights.axes.orders import positions
from ..weights.axes.table import Axes, Axis, Layout, Term
from ..weights.names import difference
from .edit import Edit


@dataclass(frozen=True, eq=False)
class UnitMap:
    """How the units of one space become other units.

    Args:
        makes: (new, old); new unit i is made of the old ones with the weights `makes[i]`.
        consumes: (old, new); what consumed old unit j consumes the new ones, with the weights `consumes[j]`.

    A space that lies in others has a matrix for every new unit of theirs, (*new parents, new, old), or one for every pair of
    a new and an old one, (*new parents, *old parents, new, old). `consumes` has the same parents in front.

    >>> UnitMap(makes=torch.tensor([[0.5, 0.5]]), consumes=torch.tensor([[1.0], [1.0]])).makes  # two units become one, their mean
    tensor([[0.5000, 0.5000]])
    """

    makes: Tensor
    consumes: Tensor

    @property
    def order(self) -> Tensor | None:
        """None: units are mixed."""
        return None

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of both matrices."""
        return tuple(self.makes.shape), tuple(self.consumes.shape)


@dataclass(frozen=True, eq=False)
class UnitOrder:
    """The map that only reorders, new[i] = old[order[i]]: one-hot matrices, kept as places.

    Args:
        order: (*parents, units)

    >>> UnitOrder(torch.tensor([1, 0])).makes
    tensor([[0., 1.],
            [1., 0.]])
    """

    order: Tensor

    @property
    def makes(self) -> Tensor:
        """(*parents, new, old)"""
        return torch.nn.functional.one_hot(self.order, self.order.shape[-1]).float()

    @property
    def consumes(self) -> Tensor:
        """(*parents, old, new)"""
        return self.makes.mT

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of both matrices."""
        shape = (*self.order.shape, self.order.shape[-1])
        return shape, shape


@dataclass(frozen=True, eq=False)
class Carry(Edit):
    """w -> M w along every axis that makes units, w N along the axis that consumes them.

    A layer y = W x becomes M_y W N_x: its incoming weights meet the new units below, its own units are mixed into the new ones.
    Biases, embeddings and the parameters and statistics of norms are on making axes: M b. A permutation is the case where M is
    one-hot and N = M^T. The function of the network stays what it was where N_x M_x x = x for all activations x that occur and
    the nonlinearity commutes with M: units that are doubled, or merged because they are equal.

    A tensor that is tied, and makes units under one name and consumes them under the other, follows the table's arrow; where
    M and N^T differ, take the table of a model in which it is not tied, and `untie` the set. Queries and keys whose number of
    dims changes keep the factor 1 / sqrt(dims) of the model that they came from: it is not in the weights.

    Args:
        axes: the table of the set that is edited.
        target: the same table with the new sizes.
        maps: (space, map) pairs; `Carry.by` takes a mapping. The other spaces stay.

    Raises:
        UnknownName: no such space.
        NamesDiffer: the tables speak of different tensors.
        ShapesDiffer: they say different things of a tensor, or a space that stays has another size in the target.
        BadParameter: a matrix has the wrong shape.
        IntegersDiffer: an integer tensor would be mixed.

    >>> from loomweight.weights.axes import axes
    >>> def mlp(width): return torch.nn.Sequential(torch.nn.Linear(1, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))
    >>> double, x = mlp(2), torch.ones(1, 1)
    >>> doubled = UnitMap(torch.eye(2).repeat_interleave(2, 0), torch.eye(2).repeat_interleave(2, 1) / 2)
    >>> wide = Carry.by(axes(mlp(2), x), axes(mlp(4), x), {"layer.0": doubled})(Weights.of(double.state_dict()))
    >>> quad = mlp(4)
    >>> quad.load_state_dict(dict(wide)), torch.allclose(quad(x), double(x))
    (<All keys matched successfully>, True)
    """

    axes: Axes
    target: Axes
    maps: tuple[tuple[str, UnitMap | UnitOrder], ...]

    def __post_init__(self) -> None:
        _same_family(self.axes, self.target)
        maps = dict(self.maps)
        for name in maps:
            if name not in self.axes.spaces:
                raise unknown("space", name, self.axes.spaces)
            _fits(self.axes, self.target, name, maps[name])
        for name, space in self.axes.spaces.items():
            if name not in maps and space.size != self.target.spaces[name].size:
                raise ShapesDiffer(f"space {name!r} has {space.size} units here and {self.target.spaces[name].size} in the target; give a map for it.")

    @staticmethod
    def by(axes: Axes, target: Axes, maps: Mapping[str, UnitMap | UnitOrder]) -> "Carry":
        """From a mapping of spaces to maps."""
        return Carry(axes, target, tuple(sorted(maps.items())))

    def __call__(self, weights: Weights) -> Weights:
        """The carried set, lazily, in the target's shapes."""
        self.axes.fits(weights)
        spec = {name: Spec(self.target.expected(name), old.dtype) for name, old in weights.spec.items()}
        open_ = lambda name: self.bind(name, weights.spec[name], weights.open(name))  # noqa: E731
        return Weights(spec, open_, ties=weights.ties, origin=("carry", weights, self), label=weights.label, sources=weights.sources)

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """The carried tensors of a set whose shapes stay; where they change only a call can say so."""
        self.axes.fits(weights)
        for name, spec in weights.spec.items():
            if self.target.expected(name) != spec.shape:
                raise ShapesDiffer(f"tensor {name!r} of shape {spec.shape} becomes {self.target.expected(name)}; call the edit itself: edit(weights).")
        return lambda name: self.bind(name, weights.spec[name], weights.open(name))

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Read whole, then carried axis by axis."""
        maps, layout = dict(self.maps), self.axes.layouts[name]
        if not any(factor in maps for axis in layout.axes for term in axis for factor in term):
            return read
        tensor = read(0, prod(spec.shape)).reshape(spec.shape).to(spec.work if spec.averages else torch.float64)
        flat = carried(self.axes, layout, tensor, maps).reshape(-1)
        if not spec.averages:
            if (flat != flat.round()).any():
                raise IntegersDiffer(f"integer tensor {name!r} would be mixed; leave it out with select().")
            flat = flat.to(spec.dtype)
        return lambda lo, hi: flat[lo:hi]


def carried(axes: Axes, layout: Layout, tensor: Tensor, maps: Mapping[str, UnitMap | UnitOrder], stays: Mapping[int, Sequence[str]] | None = None) -> Tensor:
    """A tensor in the new coordinates.

    Args:
        axes: the table of the old coordinates.
        layout: the tensor's.
        tensor: in the dtype in which to compute.
        maps: space -> map.
        stays: axis -> spaces that stay in their old coordinates along it.
    """
    for place, axis in enumerate(layout.axes):
        here = {name: found for name, found in maps.items() if name not in (stays or {}).get(place, ())}
        if any(factor in here for term in axis for factor in term):
            tensor = (
                _reordered(axes, axis, tensor, place, here) if _only_orders(axis, here) else _along(axes, axis, tensor, place, here, place == layout.consumed)
            )
    return tensor


def _only_orders(axis: Axis, maps: Mapping[str, UnitMap | UnitOrder]) -> bool:
    return all(maps[str(factor)].order is not None for term in axis for factor in term if factor in maps)


def _reordered(axes: Axes, axis: Axis, tensor: Tensor, place: int, maps: Mapping[str, UnitMap | UnitOrder]) -> Tensor:
    """One axis, read at other places."""
    orders = {name: found.order for name, found in maps.items() if found.order is not None}
    return tensor.index_select(place, torch.from_numpy(positions(axes, axis, orders)).to(tensor.device))


def _along(axes: Axes, axis: Axis, tensor: Tensor, place: int, maps: Mapping[str, UnitMap | UnitOrder], consumed: bool) -> Tensor:
    """One axis: terms one after another."""
    here = {factor: maps[factor] for term in axis for factor in term if isinstance(factor, str) and factor in maps}
    matrices = {name: found.consumes.mT if consumed else found.makes for name, found in here.items()}
    parts = tensor.split([axes.length((term,)) for term in axis], place)
    done = [_term(axes, term, part, place, matrices) for term, part in zip(axis, parts, strict=True)]
    return done[0] if len(done) == 1 else torch.cat(done, place)


def _term(axes: Axes, term: Term, tensor: Tensor, place: int, matrices: Mapping[str, Tensor]) -> Tensor:
    """One product of factors: each factor that is mapped is summed over and stands there anew.

    Letters: factor i of the term is i where it is old and i + len(term) where it is new; other axes come behind.
    """
    moved = [i for i, factor in enumerate(term) if factor in matrices]
    if not moved:
        return tensor
    grid = tensor.unflatten(place, axes.sizes(term))
    old, rest = list(range(len(term))), [2 * len(term) + i for i in range(tensor.ndim - 1)]
    new = [i + len(term) if i in moved else i for i in old]
    operands = [_lettered(axes, term, i, matrices, new) for i in moved]
    if any(axes.spaces[str(term[i])].within for i in moved):
        operands = [_joint(operands)]
    have = [*rest[:place], *old, *rest[place:]]
    for matrix, letters in operands:
        gone = {letter for letter in letters if letter in moved}
        out = [letter + len(term) if letter in gone else letter for letter in have]
        grid = torch.einsum(grid, have, matrix.to(grid), letters, out)
        have = out
    return grid.flatten(place, place + len(term) - 1)


def _lettered(axes: Axes, term: Term, i: int, matrices: Mapping[str, Tensor], new: Sequence[int]) -> tuple[Tensor, list[int]]:
    """A factor's matrix and the letters of its axes."""
    matrix = matrices[str(term[i])]
    parents = [term.index(parent) for parent in axes.spaces[str(term[i])].within]
    pairs = parents if matrix.ndim == 2 + 2 * len(parents) else []
    return matrix, [*(new[p] for p in parents), *pairs, new[i], i]


def _joint(operands: Sequence[tuple[Tensor, list[int]]]) -> tuple[Tensor, list[int]]:
    """The product of matrices that share letters, with every letter once."""
    letters = list(dict.fromkeys(letter for _, own in operands for letter in own))
    return torch.einsum(*[piece for pair in operands for piece in pair], letters), letters


def _same_family(axes: Axes, target: Axes) -> None:
    if lacking := difference(axes.layouts, target.layouts):
        raise NamesDiffer(f"the two axes tables speak of different tensors: {lacking}; only networks of one family have the same spaces.")
    for name, layout in axes.layouts.items():
        if layout != target.layouts[name]:
            raise ShapesDiffer(f"the axes tables say different things of tensor {name!r}: {layout.axes} and {target.layouts[name].axes}.")


def _fits(axes: Axes, target: Axes, name: str, found: UnitMap | UnitOrder) -> None:
    *old_parents, old = axes.shape(name)
    *new_parents, new = target.shape(name)
    leads = [tuple(new_parents), (*new_parents, *old_parents)]
    shapes = found.shapes()
    if shapes not in [((*lead, new, old), (*lead, old, new)) for lead in leads]:
        wanted = " or ".join(str((*lead, new, old)) for lead in dict.fromkeys(leads))
        raise BadParameter(f"the map of space {name!r} must have `makes` of shape {wanted} and `consumes` with the last two exchanged, found {shapes}.")
