"""Two weight sets of one table, read tensor by tensor: what is gained by putting units of one at the places of the other."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod

import numpy as np
import torch
from torch import Tensor

from ..errors import NonFinite
from ..weights import Weights
from ..weights.axes.orders import Orders, positions
from ..weights.axes.table import Axes, Term
from .assignment import Gain, same_rows
from .families import Family, Place, rows, term_of

#: matrices of up to this many entries are multiplied in float64; larger ones in float32 with sums in float64
EXACT = 1 << 15
#: columns of one float32 product, and rows of the matrix that takes it
DEEP, TALL = 4096, 512
#: tensors above this many entries are read in parts where the first axis stays
PART = 1 << 22
#: numbers measured on data, not learned: their sizes say nothing of which unit is which
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Pair:
    """The set that is moved and the one that stays; both are read when needed, one tensor at a time."""

    axes: Axes
    moving: Weights
    reference: Weights

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that count: floating, each physical one once, no running statistics."""
        spec = self.reference.spec
        return tuple(name for name in self.reference.physical if spec[name].averages and name.rpartition(".")[2] not in STATISTICS)

    def gains(self, family: Family, orders: Orders, known: Collection[str] | None = None) -> dict[tuple[str, ...], Gain]:
        """The inner product with the reference as a function of a family's orders, all other units in theirs.

        Args:
            family: what is to be ordered.
            orders: of all spaces, the family's own too: gains are for units as they stand.
            known: count only entries whose other units are in these spaces; by default all.
        """
        found: dict[tuple[str, ...], Gain] = {}
        for name in family.tensors:
            for place in (place for place in family.places if place.tensor == name):
                for ours, theirs in self._parts(place, family, orders, known):
                    add_product(square(self.axes, found, place), ours, theirs)
        return found

    def _parts(self, place: Place, family: Family, orders: Orders, known: Collection[str] | None) -> Iterator[tuple[Tensor, Tensor]]:
        """(reference, moved) as matrices with a row for each unit; the moved one in the orders given."""
        layout = self.axes.layouts[place.tensor].axes
        here = term_of(self.axes, place)
        if known is not None and not _strings(here) <= {*known, *place.carries}:
            return
        picks = []
        for axis, terms in enumerate(layout):
            wanted = [t for t, term in enumerate(terms) if (t == place.term if axis == place.axis else known is None or _strings(term) <= set(known))]
            picks.append(None if len(wanted) == len(terms) else self._entries(terms, wanted))
        if any(pick is not None and not len(pick) for pick in picks):
            return
        for ours, theirs in self.read(place.tensor, orders):
            for axis, pick in enumerate(picks):
                if pick is not None:
                    ours, theirs = ours.index_select(axis, pick), theirs.index_select(axis, pick)
            yield rows(self.axes, ours, place.axis, place), rows(self.axes, theirs, place.axis, place)

    def _entries(self, terms: tuple[Term, ...], wanted: list[int]) -> Tensor:
        begins = np.cumsum([0, *(self.axes.length((term,)) for term in terms)])
        return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *(np.arange(begins[t], begins[t + 1]) for t in wanted)]))

    def read(self, name: str, orders: Orders) -> Iterator[tuple[Tensor, Tensor]]:
        """A tensor of both sets, the moved one in its orders; in parts along the first axis, if it is large and that axis stays."""
        layout = self.axes.layouts[name].axes
        spec = self.reference.spec[name]
        ours, theirs = self.reference.open(name), self.moving.open(name)
        work = torch.promote_types(spec.work, self.moving.spec[name].work)
        length = spec.shape[0] if spec.shape else 1
        each = max(spec.numel // max(length, 1), 1)
        whole = not layout or bool(set().union(*(_strings(term) for term in layout[0])))
        step = max(length if whole else min(length, max(PART // each, 1)), 1)
        for lo in range(0, length, step):
            hi = min(lo + step, length)
            shape = (hi - lo, *spec.shape[1:]) if spec.shape else ()
            moved = theirs(lo * each, hi * each).to("cpu", work).reshape(shape)
            for axis, terms in enumerate(layout):
                if any(_strings(term) & orders.keys() for term in terms):
                    old = positions(self.axes, terms, orders)
                    moved = moved.index_select(axis, torch.from_numpy(old)) if (old[1:] < old[:-1]).any() else moved
            yield ours(lo * each, hi * each).to("cpu", work).reshape(shape), moved

    def inner(self, name: str, orders: Orders) -> float:
        """The inner product of one tensor of both sets, in float64."""
        return sum(float(a @ b) for ours, theirs in self.read(name, orders) for a, b in _wide(ours, theirs))

    def measured(self, name: str, orders: Orders) -> tuple[float, float, float]:
        """The inner product of one tensor of both sets, and the square of the norm of each: moving, reference.

        Raises:
            NonFinite: one of them holds NaN or Inf.
        """
        inner = moving = reference = 0.0
        for ours, theirs in self.read(name, orders):
            for a, b in _wide(ours, theirs):
                inner, moving, reference = inner + float(a @ b), moving + float(b @ b), reference + float(a @ a)
        for which, square in (("moving", moving), ("reference", reference)):
            if not isfinite(square):
                raise NonFinite(f"tensor {name!r} of the {which} set holds NaN or Inf, so its units cannot be matched; look for what diverged there.")
        return inner, moving, reference


def square(axes: Axes, gains: dict[tuple[str, ...], Gain], place: Place) -> Tensor:
    """The gains that belong to a place, as a matrix to add to."""
    shape = tuple(axes.spaces[name].size for name in place.carries)
    if place.carries not in gains:
        gains[place.carries] = np.zeros((*shape, *shape))
    return torch.from_numpy(gains[place.carries]).view(prod(shape), prod(shape))


def add_product(total: Tensor, ours: Tensor, theirs: Tensor) -> None:
    """total += ours @ theirs^T. Rows that are equal bit for bit get sums that are equal bit for bit."""
    same = [None if ours.shape[1] == 1 else _repeated(part) for part in (ours, theirs)]
    target = total if same == [None, None] else torch.zeros_like(total)
    if ours.numel() <= EXACT or ours.dtype == torch.float64:
        target += ours.double() @ theirs.double().T
    else:
        for lo in range(0, ours.shape[1], DEEP):
            right = theirs[:, lo : lo + DEEP].T
            for top in range(0, len(ours), TALL):
                target[top : top + TALL] += ours[top : top + TALL, lo : lo + DEEP] @ right
    if target is not total:
        first, second = (torch.arange(len(total)) if found is None else found for found in same)
        total += target[first][:, second]


def _repeated(matrix: Tensor) -> Tensor | None:
    """For each row the first one that is equal to it; None where all differ."""
    found = torch.from_numpy(same_rows(matrix.detach().numpy()))
    return None if torch.equal(found, torch.arange(len(found))) else found


def _wide(first: Tensor, second: Tensor, step: int = 1 << 17) -> Iterator[tuple[Tensor, Tensor]]:
    """Both, flat, in float64, in pieces that fit a cache."""
    a, b = first.reshape(-1), second.reshape(-1)
    return ((a[lo : lo + step].double(), b[lo : lo + step].double()) for lo in range(0, len(a), step))


def _strings(term: Term) -> set[str]:
    return {factor for factor in term if isinstance(factor, str)}
