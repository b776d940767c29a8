"""Two networks as one that is wider: merged units average what comes in, the others keep what they were.

An entry of the wider network is the sum, over the networks that have it, of theirs; along the axes that make units divided by how many
networks have the unit (a merged unit is the mean of both), along the axis that is summed over not (a unit of one network reads the merged
units in place of its own). So a unit of one network reads nothing of the other's own units; with nothing merged the two run side by side.
"""

from math import prod

import torch
from torch import Tensor

from ..errors import BadParameter, IntegersDiffer
from ..weights import Block, Spec, Weights
from .widths import BOTH, FIRST, SECOND, Widths


def side_by_side(widths: Widths, first: Weights, second: Weights) -> Weights:
    """The wider network, lazily; both are in one order of units.

    Raises:
        BadParameter: a tensor that several names share makes units of a split space, and another use may sum over them.
    """
    _refuse_tied(widths, first)
    spec = {name: Spec(widths.wide.expected(name), torch.promote_types(first.spec[name].dtype, second.spec[name].dtype)) for name in first.names}

    def open_(name: str) -> Block:
        flat = _joined(widths, name, first, second).reshape(-1)
        return lambda lo, hi: flat[lo:hi]

    origin = ("side by side", widths.axes.how, *(f"{space} {kept.tolist()}" for space, kept in widths.merged.items()), first, second)
    return Weights(spec, open_, ties=first.ties, origin=origin, label=f"{first.label} and {second.label}")


def _refuse_tied(widths: Widths, weights: Weights) -> None:
    for alias, owner in weights.ties.items():
        factors = {factor for axis in widths.axes.layouts[owner].axes for term in axis for factor in term}
        if len(weights.spec[owner].shape) > 1 and (split := sorted(factors & widths.merged.keys())):
            raise BadParameter(
                f"{owner!r} and {alias!r} are one tensor, which cannot be arranged both for making and for reading units of {split[0]!r};"
                f" merge that space whole (leave it out of a mapping of shares), or untie() the weights."
            )


def _joined(widths: Widths, name: str, first: Weights, second: Weights) -> Tensor:
    spec, layout = first.spec[name], widths.axes.layouts[name]
    if not spec.averages:
        return _same(widths, name, first, second)
    origins = [widths.along(axis) for axis in layout.axes]
    owner = torch.full([1] * len(origins), BOTH)
    for axis, origin in enumerate(origins):
        if axis != layout.consumed and (origin.owner != BOTH).any():
            owner = owner & origin.owner.reshape([-1 if d == axis else 1 for d in range(len(origins))])
    total: Tensor | None = None
    for who, weights in ((FIRST, first), (SECOND, second)):
        share = (owner & who).bool().double() / (1.0 + (owner == BOTH))
        tensor = weights.open(name)(0, spec.numel).reshape(spec.shape).to(weights.spec[name].work)
        for axis, origin in enumerate(origins):
            if len(origin.place) != spec.shape[axis] or (origin.owner != BOTH).any():
                tensor = tensor.index_select(axis, origin.place.to(tensor.device))
            if axis == layout.consumed and (origin.owner != BOTH).any():
                share = share * (origin.owner & who).bool().reshape([-1 if d == axis else 1 for d in range(len(origins))])
        part = tensor * share.to(tensor)
        total = part if total is None else total + part
    assert total is not None and total.numel() == prod(widths.wide.expected(name))
    return total


def _same(widths: Widths, name: str, first: Weights, second: Weights) -> Tensor:
    tensor = first[name]
    if not torch.equal(tensor, second[name]):
        raise IntegersDiffer(f"integer tensor {name!r} differs between the two networks; integers are never averaged: make them equal.")
    for axis, terms in enumerate(widths.axes.layouts[name].axes):
        tensor = tensor.index_select(axis, widths.along(terms).place.to(tensor.device))
    return tensor
