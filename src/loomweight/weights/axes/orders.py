"""Orders of units: for every space which old unit stands at each new place.

An order is an integer tensor of shape (sizes of the spaces it lies in, its size): `new[i] = old[order[i]]`. Where a space lies in
others, `order[h]` is the order inside the unit that now stands at place h of them. Spaces that are not named keep theirs.
"""

from collections.abc import Mapping
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BadParameter, unknown
from .table import Axes, Axis, Term

#: space -> order
Orders = Mapping[str, Tensor]


def identity(axes: Axes, space: str) -> Tensor:
    """Every unit where it is."""
    shape = axes.shape(space)
    return torch.arange(shape[-1]).expand(shape).clone()


def random_orders(axes: Axes, seed: int = 0) -> dict[str, Tensor]:
    """A random order for every space, by a generator of its own for each name.

    >>> from .find import axes
    >>> table = axes(torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Linear(4, 1)), torch.zeros(1, 2))
    >>> random_orders(table)["layer.0"].sort().values
    tensor([0, 1, 2, 3])
    """
    found = {}
    for name in axes.spaces:
        generator = torch.Generator().manual_seed(_seed(name, seed))
        shape = axes.shape(name)
        found[name] = torch.stack([torch.randperm(shape[-1], generator=generator) for _ in range(prod(shape[:-1]))]).reshape(shape)
    return found


def _seed(name: str, seed: int) -> int:
    from hashlib import blake2b

    return int.from_bytes(blake2b(f"{seed} {name}".encode(), digest_size=7).digest(), "little")


def checked(axes: Axes, orders: Orders) -> dict[str, Tensor]:
    """The orders; raise unless each is a permutation of its space.

    Raises:
        UnknownName: no such space.
        BadParameter: a wrong shape, or a unit that is there twice or not at all.
    """
    for name, order in orders.items():
        if name not in axes.spaces:
            raise unknown("space", name, axes.spaces)
        if tuple(order.shape) != axes.shape(name) or not torch.equal(order.sort(-1).values, identity(axes, name).to(order)):
            raise BadParameter(f"the order of space {name!r} must be a permutation of shape {axes.shape(name)}, found shape {tuple(order.shape)}.")
    return {name: order.long().cpu() for name, order in orders.items()}


def positions(axes: Axes, axis: Axis, orders: Orders) -> NDArray[np.int64]:
    """The old place of every entry along an axis."""
    parts, begin = [], 0
    for term in axis:
        parts.append(begin + _term(axes, term, orders))
        begin += len(parts[-1])
    return np.concatenate([np.empty(0, np.int64), *parts])


def _term(axes: Axes, term: Term, orders: Orders) -> NDArray[np.int64]:
    sizes = axes.sizes(term)
    total = np.zeros(sizes, np.int64)
    for place, factor in enumerate(term):
        old = np.arange(sizes[place]).reshape([-1 if i == place else 1 for i in range(len(sizes))])
        if isinstance(factor, str) and factor in orders:
            old = _spread(axes, term, place, orders[factor].numpy())
        total += old * prod(sizes[place + 1 :])
    return total.ravel()


def _spread(axes: Axes, term: Term, place: int, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order along the factors of a term that it runs over."""
    where = [*(term.index(parent) for parent in axes.spaces[str(term[place])].within), place]
    turned = order.transpose(np.argsort(where))
    shape = [1] * len(term)
    for axis, size in zip(sorted(where), turned.shape, strict=True):
        shape[axis] = size
    return turned.reshape(shape)


def then(axes: Axes, first: Orders, second: Orders) -> dict[str, Tensor]:
    """One order for two in a row: first `first`, then `second`."""
    found = {}
    for name in axes.spaces:
        if name in first or name in second or any(parent in second for parent in axes.spaces[name].within):
            before, after = first.get(name, identity(axes, name)), second.get(name, identity(axes, name))
            found[name] = _parents_moved(axes, name, before, second).gather(-1, after)
    return found


def inverse(axes: Axes, orders: Orders) -> dict[str, Tensor]:
    """The orders that undo these."""
    found: dict[str, Tensor] = {}
    for name in axes.spaces:
        if name in orders or any(parent in found for parent in axes.spaces[name].within):
            back = orders.get(name, identity(axes, name)).argsort(-1)
            found[name] = _parents_moved(axes, name, back, found)
    return found


def _parents_moved(axes: Axes, name: str, order: Tensor, orders: Orders) -> Tensor:
    """The orders inside every parent unit, where the parents are put into another order."""
    within = axes.spaces[name].within
    if not any(parent in orders for parent in within):
        return order
    where = torch.from_numpy(_term(axes, within, orders).reshape([axes.spaces[parent].size for parent in within]))
    return order.reshape(-1, order.shape[-1])[where.reshape(-1)].reshape(order.shape)
