"""The best orders of a whole family: heads are exchanged whole, the dims of each head inside it."""

from collections.abc import Iterable, Mapping
from math import prod

import numpy as np
import torch
from torch import Tensor

from .assignment import Gain, Order, best_order
from .families import Family

#: What is gained, for spaces that are met together: an array (places of each space ..., units of each space ...).
Gains = Mapping[tuple[str, ...], Gain]
Found = dict[str, Order]

#: Spaces that lie side by side in one parent and are met together are ordered in turn, at most as often as this.
TURNS = 20


def best_orders(family: Family, gains: Gains) -> dict[str, Tensor]:
    """The orders of the free members that gain most.

    A unit with children is worth, at each place, what the best orders of its children gain there; the assignment of the units
    themselves is by these values. Exact, except where two spaces side by side share a tensor: these are ordered in turn.

    Returns:
        member -> order of shape (sizes of what it lies in, its size), as `Orders` have it; members that stay are left out.
    """
    sizes = {name: size for spaces, gain in gains.items() for name, size in zip(spaces, gain.shape, strict=False)}
    known = [name for name in family.members if name in sizes]
    _, found = _solve(family, known, gains)
    moved = [name for name, order in found.items() if name in family.free and (order != np.arange(order.shape[-1])).any()]
    return {name: torch.from_numpy(_as_in_the_table(family, name, found[name])) for name in moved}


def _as_in_the_table(family: Family, name: str, order: Order) -> Order:
    """The axes of an order in the order in which the table says what the space lies in."""
    within, inside = family.within[name], family.inside[name]
    return np.ascontiguousarray(order.transpose([*(inside.index(parent) for parent in within), len(within)]))


def _solve(family: Family, names: list[str], gains: Gains) -> tuple[float, Found]:
    """Value and orders of the spaces left, inside units that are already paired."""
    total, found = float(gains.get((), 0.0)), {}
    for group in _groups(family, names, gains):
        mine = {spaces: gain for spaces, gain in gains.items() if set(spaces) & set(group)}
        tops = [name for name in group if not set(family.inside[name]) & set(group)]
        value, orders = _one(family, group, mine) if len(tops) == 1 else _in_turn(family, group, tops, mine)
        total += value
        found |= orders
    return total, found


def _groups(family: Family, names: list[str], gains: Gains) -> list[list[str]]:
    """Spaces that must be looked at together: met together, or one inside the other."""
    ties = [set(spaces) for spaces in gains] + [{name, *family.inside[name]} & set(names) for name in names]
    left, groups = list(names), []
    while left:
        group = {left[0]}
        while grown := {name for tie in ties if tie & group for name in tie & set(left)} - group:
            group |= grown
        groups.append([name for name in left if name in group])
        left = [name for name in left if name not in group]
    return groups


def _one(family: Family, group: list[str], gains: Gains) -> tuple[float, Found]:
    """One space, and what lies in it."""
    top, *rest = group
    if not rest:
        gain = gains[top,]
        order = best_order(gain) if top in family.free else np.arange(len(gain))
        return float(gain[np.arange(len(gain)), order].sum()), {top: order}
    size = next(gain.shape[spaces.index(top)] for spaces, gain in gains.items() if top in spaces)
    values = np.full((size, size), -np.inf)
    inner: dict[tuple[int, int], Found] = {}
    pairs = np.ndindex(size, size) if top in family.free else ((i, i) for i in range(size))
    for i, j in pairs:
        values[i, j], inner[i, j] = _solve(family, rest, _inside(gains, top, i, j))
    order = best_order(values) if top in family.free else np.arange(size)
    chosen = [inner[i, int(order[i])] for i in range(size)]
    found = {name: np.stack([orders[name] for orders in chosen]) for name in rest}
    return float(values[np.arange(size), order].sum()), {top: order, **found}


def _inside(gains: Gains, top: str, i: int, j: int) -> dict[tuple[str, ...], Gain]:
    """What is left to gain once unit j of a space is put at place i."""
    found: dict[tuple[str, ...], Gain] = {}
    for spaces, gain in gains.items():
        left = spaces
        if top in spaces:
            at = spaces.index(top)
            left = spaces[:at] + spaces[at + 1 :]
            gain = gain.take(i, at).take(j, at + len(left))
        found[left] = np.asarray(found[left] + gain if left in found else gain)
    return found


def _in_turn(family: Family, group: list[str], tops: list[str], gains: Gains) -> tuple[float, Found]:
    """Spaces side by side: each with the others where they are, until nothing more is gained; from two starts, the better one."""
    parts = {top: [name for name in group if name == top or top in family.inside[name]] for top in tops}
    stay = {name: _stay(family, name, group, gains) for name in group}
    ends = [_climb(family, parts, gains, start) for start in (stay, _alone(family, parts, gains, stay))]
    return max(ends, key=lambda end: end[0])


def _alone(family: Family, parts: Mapping[str, list[str]], gains: Gains, stay: Found) -> Found:
    """A start: each space by what does not depend on those that have no order yet."""
    known: set[str] = set()
    orders = dict(stay)
    for names in parts.values():
        mine = {spaces: gain for spaces, gain in gains.items() if set(spaces) & set(names) and set(spaces) <= known | set(names)}
        met = [name for name in names if any(name in spaces for spaces in mine)]
        if met == names:
            orders |= _solve(family, names, _contracted(family, mine, known, orders))[1]
        known |= set(names)
    return orders


def _climb(family: Family, parts: Mapping[str, list[str]], gains: Gains, orders: Found) -> tuple[float, Found]:
    every = {name for names in parts.values() for name in names}
    best = _value(family, gains, every, orders)
    for _ in range(TURNS):
        before = best
        for names in parts.values():
            trial = orders | _solve(family, names, _contracted(family, gains, every - set(names), orders))[1]
            if (value := _value(family, gains, every, trial)) > best:
                best, orders = value, trial
        if best <= before:
            break
    return best, orders


def _value(family: Family, gains: Gains, names: set[str], orders: Found) -> float:
    return sum(float(gain) for gain in _contracted(family, gains, names, orders).values())


def _contracted(family: Family, gains: Gains, fixed: Iterable[str], orders: Found) -> dict[tuple[str, ...], Gain]:
    """What the others gain when these spaces have these orders."""
    fixed, found = set(fixed), {}
    for spaces, gain in gains.items():
        here = [name for name in spaces if name in fixed]
        left = tuple(name for name in spaces if name not in fixed)
        if here:
            count = len(spaces)
            front = [spaces.index(name) for name in here]
            turned = np.moveaxis(gain, front + [count + at for at in front], list(range(2 * len(front))))
            places = np.indices([gain.shape[at] for at in front]).reshape(len(front), -1)
            at = dict(zip(here, places, strict=True))
            units = [orders[name][(*(at[parent] for parent in family.inside[name] if parent in at), at[name])] for name in here]
            gain = turned[(*places, *units)].sum(0)
        found[left] = np.asarray(found[left] + gain if left in found else gain)
    return found


def _stay(family: Family, name: str, group: list[str], gains: Gains) -> Order:
    """Every unit where it is, inside the units that are not paired yet."""
    sizes = {key: gain.shape[spaces.index(key)] for spaces, gain in gains.items() for key in spaces}
    shape = [sizes[parent] for parent in family.inside[name] if parent in group]
    return np.tile(np.arange(sizes[name]), (prod(shape), 1)).reshape(*shape, -1)
