"""More than two networks: all into the coordinates of one, towards their own mean, or into one frame in which all pairs agree."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..edits.permute import Permute
from ..engines.progress import track
from ..errors import BadParameter
from ..weights import Block, Spec, Weights
from ..weights.axes.orders import identity, inverse, then
from ..weights.axes.table import Axes
from .descent import Climb, started
from .families import Family
from .pairs import Pair
from .weight_matching import matched, weight_matching

Many = list[dict[str, Tensor]]


def match_to_reference(
    axes: Axes, models: Sequence[Weights], reference: int = 0, *, sweeps: int = 100, seed: int = 0, progress: bool = False
) -> tuple[Permute, ...]:
    """Each of several networks into the coordinates of one of them, by weight matching of every pair (i, reference).

    Paper: Git Re-Basin: Merging Models modulo Permutation Symmetries (2022, https://arxiv.org/abs/2209.04836), Algorithm 1 for each.

    Args:
        axes: which axes carry which units, for all sets.
        models: the sets.
        reference: the number of the one that stays.
        sweeps, seed, progress: see `weight_matching`.

    Returns:
        An edit for each; the reference's own is the identity.

    Raises:
        BadParameter: there is no such number.

    >>> from loomweight.weights.axes import axes, random_orders
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    >>> table, weights = axes(model, torch.zeros(1, 3)), lw.load(model)
    >>> copies = [weights, *(Permute.by(table, random_orders(table, seed))(weights) for seed in (1, 2))]
    >>> aligned = [edit(copy)["2.weight"] for edit, copy in zip(match_to_reference(table, copies), copies)]
    >>> all(torch.equal(each, aligned[0]) for each in aligned)
    True
    """
    if not 0 <= reference < len(models):
        raise BadParameter(f"the reference must be the number of one of {len(models)} sets, found {reference}.")
    fixed = Permute.by(axes, {})
    return tuple(
        fixed if number == reference else weight_matching(axes, each, models[reference], sweeps=sweeps, seed=seed, progress=progress)
        for number, each in enumerate(models)
    )


def match_to_mean(axes: Axes, models: Sequence[Weights], *, rounds: int = 100, sweeps: int = 100, seed: int = 0, progress: bool = False) -> tuple[Permute, ...]:
    """Each network in turn, in random order, is matched to the mean of all others as they stand, until none moves (MergeMany).

    The sum over pairs <P_i(w_i), P_j(w_j)> never falls. No network is a reference, but the end depends on the order of the visits.

    Paper: Git Re-Basin: Merging Models modulo Permutation Symmetries (2022, https://arxiv.org/abs/2209.04836), Algorithm 2. Its step
    starts at the identity; ours starts as `weight_matching` does in the first round and goes on from where it is in later ones.

    Args:
        axes: which axes carry which units, for all sets.
        models: the sets; every visit reads all of them, a tensor at a time.
        rounds: visit each at most as often.
        sweeps, seed, progress: see `weight_matching`; the seed is of the order of the visits too.

    Returns:
        An edit for each.

    Raises:
        BadParameter: fewer than two sets.

    >>> from loomweight.weights.axes import axes
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    >>> [len(edit.orders) for edit in match_to_mean(axes(model, torch.zeros(1, 3)), [lw.load(model)] * 3)]
    [0, 0, 0]
    """
    families = _same_family(axes, models)
    orders: Many = [{} for _ in models]
    draw = np.random.default_rng(seed)
    for number in track(range(rounds), "matching to the mean", show=progress):
        changed = False
        for at in draw.permutation(len(models)).tolist():
            pair = Pair(axes, models[at], _others(axes, models, orders, at))
            climb = Climb(pair, families, orders[at]) if number else started(pair, families)
            climb.ascend(sweeps, seed)
            changed |= _differ(axes, orders[at], climb.orders)
            orders[at] = climb.orders
        if not changed:
            break
    return tuple(Permute.by(axes, each) for each in orders)


def match_cycle_consistent(axes: Axes, models: Sequence[Weights], *, rounds: int = 100, seed: int = 0, progress: bool = False) -> tuple[Permute, ...]:
    """Every network into one common frame, space by space, so that P_ij = P_j^-1 P_i maps i to j and all cycles of maps close.

    The sum over all pairs of <P_i(w_i), P_j(w_j)> is climbed: for a space, each network's units are assigned to the sum of the other
    networks' in the frame, until no space of any network gains. It never falls.

    Paper: $C^2M^3$: Cycle-Consistent Multi-Model Merging (2024, https://arxiv.org/abs/2405.17897). The same objective over the same
    factored maps; the paper climbs it for all spaces at once with Frank-Wolfe over doubly stochastic matrices and rounds at the end, we
    climb over permutations, which needs no rounding, from where `match_to_reference` leads. The frame is that of the first network.
    Original code: https://github.com/crisostomi/cycle-consistent-model-merging at ea1eca7, frank_wolfe_sync_matching.py: there too every
    pair counts once and every tensor with a permuted axis, biases with it, by the inner product of the two in the frame; the start is
    the identity or nearly uniform, each step's length is searched on the line, and 200 steps at most are followed by one assignment.

    Args:
        axes: which axes carry which units, for all sets.
        models: the sets.
        rounds: visit every space of each at most as often.
        seed: of the order of visits.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        An edit for each into the common frame; `between` gives the map of a pair.

    Raises:
        BadParameter: fewer than two sets.

    >>> from loomweight.weights.axes import axes
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    >>> [len(edit.orders) for edit in match_cycle_consistent(axes(model, torch.zeros(1, 3)), [lw.load(model)] * 3)]
    [0, 0, 0]
    """
    families = _same_family(axes, models)
    orders: Many = [dict(edit.orders) for edit in match_to_reference(axes, models, seed=seed)]
    draw = np.random.default_rng(seed)
    for _ in track(range(rounds), "matching in one frame", show=progress):
        changed = False
        for family in (families[number] for number in draw.permutation(len(families)).tolist()):
            for at in draw.permutation(len(models)).tolist():
                climb = Climb(Pair(axes, models[at], _others(axes, models, orders, at)), [family], orders[at])
                changed |= climb.visit(0)
                orders[at] = climb.orders
        if not changed:
            break
    back = inverse(axes, orders[0])
    return tuple(Permute.by(axes, then(axes, each, back) if at else {}) for at, each in enumerate(orders))


def between(axes: Axes, first: Permute, second: Permute) -> Permute:
    """The map from the coordinates of one network to those of another, from their maps into a common frame: P_12 = P_2^-1 P_1.

    Paper: $C^2M^3$: Cycle-Consistent Multi-Model Merging (2024, https://arxiv.org/abs/2405.17897).

    Part of: match_cycle_consistent.

    >>> from loomweight.weights.axes import axes, random_orders
    >>> table = axes(torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Linear(3, 1)), torch.zeros(1, 1))
    >>> edit = Permute.by(table, random_orders(table))
    >>> [order.tolist() for _, order in between(table, edit, edit).orders]
    [[0, 1, 2]]
    """
    return Permute.by(axes, then(axes, dict(first.orders), inverse(axes, dict(second.orders))))


def _same_family(axes: Axes, models: Sequence[Weights]) -> list[Family]:
    if len(models) < 2:
        raise BadParameter(f"several networks are matched with one another; found {len(models)}.")
    found = [matched(axes, each, models[0])[1] for each in models]
    return found[0]


def _others(axes: Axes, models: Sequence[Weights], orders: Many, left_out: int) -> Weights:
    """The sum of all other sets as they stand; what matches it matches their mean."""
    moved = [Permute.by(axes, orders[at])(each) for at, each in enumerate(models) if at != left_out]
    spec = {name: Spec(of.shape, of.work) for name, of in models[0].spec.items()}

    def opened(name: str) -> Block:
        blocks = [each.open(name) for each in moved]
        work = spec[name].dtype
        return lambda lo, hi: sum((block(lo, hi).to(work) for block in blocks[1:]), blocks[0](lo, hi).to(work))

    return Weights(spec, opened, ties=models[0].ties)


def _differ(axes: Axes, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> bool:
    """Whether a network has moved; a space without an order is one that stays."""
    return any(not torch.equal(before.get(name, identity(axes, name)), after.get(name, identity(axes, name))) for name in axes.spaces)
