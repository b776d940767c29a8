"""Spaces that must be matched together: one that lies in no other, and all that lie in it (heads, and the dims of each head)."""

from collections.abc import Collection
from dataclasses import dataclass
from math import prod

from torch import Tensor

from ..weights.axes.table import Axes, Term


@dataclass(frozen=True)
class Place:
    """One term of one axis of a tensor that carries units of a family."""

    tensor: str
    axis: int
    term: int
    #: spaces of the family in it, in the order of the family
    carries: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """A space and what lies in it.

    Args:
        members: the space itself, then what lies in it, parents before children. Spaces of other families that a member lies in
            too are here, pinned.
        inside: for each member the members that it lies in, in the order of `members`.
        within: for each free member all that it lies in, in the order of the table.
        free: members whose units may change their order.
        places: where they are.
    """

    members: tuple[str, ...]
    inside: dict[str, tuple[str, ...]]
    within: dict[str, tuple[str, ...]]
    free: frozenset[str]
    places: tuple[Place, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that carry it, each once."""
        return tuple(dict.fromkeys(place.tensor for place in self.places))


def families(axes: Axes, tensors: Collection[str], spaces: Collection[str] | None = None) -> list[Family]:
    """All families with a free space, in the order of the table.

    Args:
        axes: the table.
        tensors: those that count; the others are not looked at.
        spaces: the free ones; by default all.
    """
    free = frozenset(axes.spaces if spaces is None else spaces)
    found = [_family(axes, root, tensors, free) for root, space in axes.spaces.items() if not space.within]
    return [family for family in found if family.free]


def _family(axes: Axes, root: str, tensors: Collection[str], free: frozenset[str]) -> Family:
    own = [root]
    own += [name for name, space in axes.spaces.items() if root in space.within]
    pinned = dict.fromkeys(parent for name in own for parent in axes.spaces[name].within if parent not in own)
    members = (root, *pinned, *own[1:])
    inside = {name: tuple(parent for parent in members if parent in axes.spaces[name].within) for name in members}
    inside |= dict.fromkeys(pinned, (root,))
    places = []
    for use in axes.uses(root):
        term = axes.layouts[use.tensor].axes[use.axis][use.term]
        if use.tensor in tensors:
            places.append(Place(use.tensor, use.axis, use.term, tuple(name for name in members if name in term)))
    within = {name: axes.spaces[name].within for name in own}
    return Family(members, inside, within, frozenset(own) & free, tuple(dict.fromkeys(places)))


def term_of(axes: Axes, place: Place) -> Term:
    """The term that a place means."""
    return axes.layouts[place.tensor].axes[place.axis][place.term]


def rows(axes: Axes, part: Tensor, axis: int, place: Place) -> Tensor:
    """A tensor, one axis of which is the term of a place, as a matrix: a row for each unit of the carried spaces together."""
    term = term_of(axes, place)
    split = part.unflatten(axis, axes.sizes(term))
    lead = [axis + term.index(name) for name in place.carries]
    moved = split.movedim(lead, list(range(len(lead))))
    return moved.reshape(prod(moved.shape[: len(lead)]), -1)
