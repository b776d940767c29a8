"""`Axes`: which axes of which tensors carry the same units."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from ...errors import BadParameter, NamesDiffer, ShapesDiffer, unknown
from ..names import listed
from ..weights import Weights

#: Factors multiply, the last one runs fastest; a number counts entries that stay, a word is a space of units.
Term = tuple[int | str, ...]
#: Terms follow one another along the axis.
Axis = tuple[Term, ...]


@dataclass(frozen=True)
class Space:
    """Units that may be exchanged with one another.

    Args:
        name: its name in the table.
        size: how many units; inside each unit of `within`, if it has such.
        within: spaces that it lies in: dims lie in heads, and are exchanged inside each head on their own.
        scales: a unit may be multiplied by any positive number and divided out behind (ReLU networks).
    """

    name: str
    size: int
    within: tuple[str, ...] = ()
    scales: bool = False


@dataclass(frozen=True)
class Layout:
    """The axes of one tensor; `consumed` is the axis that a product sums over: its units come from another layer."""

    axes: tuple[Axis, ...]
    consumed: int | None = None


@dataclass(frozen=True)
class Use:
    """One place where a space is: tensor, axis, term of the axis, factor of the term."""

    tensor: str
    axis: int
    term: int
    factor: int


@dataclass(frozen=True, repr=False, eq=False)
class Axes:
    """Spaces of units, and the tensors that carry them.

    Print it to read it: it is the table, in the language of `Axes.parse` (see `language`). A permutation of every space, applied to
    all tensors, leaves the function of the model as it is.

    Args:
        spaces: by name; those that lie in others come after them.
        layouts: tensor name -> its axes, for every tensor of the checkpoint.
        how: where the table is from.
        notes: what stays as it is because it was not understood, a sentence each.
    """

    spaces: Mapping[str, Space]
    layouts: Mapping[str, Layout]
    how: str = "by hand"
    notes: tuple[str, ...] = ()

    def shape(self, space: str) -> tuple[int, ...]:
        """(sizes of the spaces it lies in, its own size): the shape of its permutations."""
        found = self.spaces[space]
        return (*(self.spaces[parent].size for parent in found.within), found.size)

    def length(self, axis: Axis) -> int:
        """Entries along an axis."""
        return sum(prod(self.sizes(term)) for term in axis)

    def sizes(self, term: Term) -> list[int]:
        """The sizes of a term's factors."""
        return [self.spaces[factor].size if isinstance(factor, str) else factor for factor in term]

    def expected(self, tensor: str) -> tuple[int, ...]:
        """The shape that a tensor must have."""
        return tuple(self.length(axis) for axis in self.layouts[tensor].axes)

    def fits(self, weights: Weights) -> None:
        """Raise unless the table speaks of every tensor of a set, in its shape.

        Raises:
            NamesDiffer: the table says nothing of a tensor.
            ShapesDiffer: a tensor has another shape than the table says.
        """
        if missing := [name for name in weights.names if name not in self.layouts]:
            raise NamesDiffer(f"the axes table ({self.how.split(',')[0]}) says nothing of {listed(missing)}; it was made for another model.")
        for name, spec in weights.spec.items():
            if self.expected(name) != spec.shape:
                raise ShapesDiffer(f"the axes table says that tensor {name!r} has shape {self.expected(name)}, but it has {spec.shape}.")

    def uses(self, space: str) -> list[Use]:
        """Every place where a space is, in the order of the tensors."""
        return self._uses.get(space, [])

    @cached_property
    def _uses(self) -> dict[str, list[Use]]:
        found: dict[str, list[Use]] = {}
        for space, use in self._places():
            found.setdefault(space, []).append(use)
        return found

    def _places(self) -> Iterator[tuple[str, Use]]:
        for tensor, layout in self.layouts.items():
            for a, axis in enumerate(layout.axes):
                for t, term in enumerate(axis):
                    for f, factor in enumerate(term):
                        if isinstance(factor, str):
                            yield factor, Use(tensor, a, t, f)

    @staticmethod
    def of(spaces: Mapping[str, Space], layouts: Mapping[str, Layout], how: str = "by hand", notes: tuple[str, ...] = ()) -> "Axes":
        """A table with its spaces in the one order that a text of it has too: those that others lie in first, then by first use."""
        bare = Axes(spaces, layouts)
        place = {space: number for number, (space, _) in reversed(list(enumerate(bare._places())))}

        def depth(name: str) -> int:
            return 1 + max((depth(parent) for parent in spaces[name].within), default=0)

        ordered = sorted(spaces, key=lambda name: (depth(name), place.get(name, -1)))
        return Axes({name: spaces[name] for name in ordered}, layouts, how, notes)

    def children(self, space: str) -> list[str]:
        """Spaces that lie in this one."""
        return [name for name, other in self.spaces.items() if space in other.within]

    def without(self, *names: str) -> "Axes":
        """The same table with some spaces (and what lies in them) fixed: their units stay where they are."""
        gone = set(names) | {child for name in names for child in self.children(name)}

        def term(factors: Term) -> Term:
            return tuple(self.spaces[factor].size if factor in gone else factor for factor in factors)  # type: ignore[index]

        layouts = {
            tensor: Layout(tuple(tuple(term(factors) for factors in axis) for axis in layout.axes), layout.consumed) for tensor, layout in self.layouts.items()
        }
        kept = {name: space for name, space in self.spaces.items() if name not in gone}
        return Axes(kept, layouts, self.how, self.notes)

    def resized(self, sizes: Mapping[str, int]) -> "Axes":
        """The same table with other sizes of some spaces: that of the family's wider or narrower member.

        Raises:
            UnknownName: no such space.
            BadParameter: a size below 1.

        >>> import torch
        >>> from .fit import table_for
        >>> from ..weights import Weights
        >>> table = table_for("up : hidden <- 3", Weights.of({"up": torch.zeros(8, 3)}))
        >>> table.resized({"hidden": 5}).expected("up")
        (5, 3)
        """
        for name, size in sizes.items():
            if name not in self.spaces:
                raise unknown("space", name, self.spaces)
            if size < 1:
                raise BadParameter(f"space {name!r} must have at least one unit, found size {size}.")
        spaces = {name: replace(space, size=sizes.get(name, space.size)) for name, space in self.spaces.items()}
        return Axes(spaces, self.layouts, self.how, self.notes)

    def __repr__(self) -> str:
        return f"Axes({len(self.spaces)} spaces, {len(self.layouts)} tensors, {self.how.split(',')[0]})"

    def __str__(self) -> str:
        from .language import written

        return written(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Axes) and (self.spaces, self.layouts) == (other.spaces, other.layouts)

    def __hash__(self) -> int:
        return hash((tuple(self.spaces), tuple(self.layouts)))
