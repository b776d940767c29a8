"""FLEET-MERGE: many recurrent policies, brought into one order of units and averaged, round after round.

Paper: Robot Fleet Learning via Policy Merging (2023, https://arxiv.org/abs/2310.01362), section 4. The authors publish their simulator
(https://github.com/liruiw/Fleet-Tools, looked through at ca358b1), not the merging, so there is no code to compare with, and its text was not at hand; what its
abstract and summaries say is kept: permutations relaxed by Sinkhorn's operator at a temperature, recurrent weights permuted on both
sides, a common average as the reference, hard orders at the end, and averages of newly trained policies in rounds, as in federated
learning. Ours to choose were: the matrices follow the derivative at a falling temperature (graduated assignment) instead of small
gradient steps; policies join the average one after another, then each is matched to the mean of the others again; a match that has less
in common with it than the one before is not taken; the first policy keeps its order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..edits.permute import Permute
from ..errors import BadParameter, IntegersDiffer
from ..weights import Block, Spec, Weights
from ..weights.algebra import agree
from ..weights.axes import Axes
from .soft import Annealing, inner, softly_matched


@dataclass(frozen=True)
class Fleet:
    """Merged policies.

    Args:
        edits: what brings each policy into the order of the first.
        weights: the average of the policies in that order, lazily.
    """

    edits: tuple[Permute, ...]
    weights: Weights


def fleet_merge(
    axes: Axes, policies: Sequence[Weights], *, shares: Sequence[float] | None = None, sweeps: int = 3, annealing: Annealing | None = None
) -> Fleet:
    """Orders P_k that give sum over tensors and pairs <P_j w_j, P_k w_k> much, and the average sum_k share_k P_k(w_k).

    Each policy is matched softly to the mean of the others, the soft orders become hard as the temperature falls; sweeps go on until no
    match changes. In a recurrent layer the same order applies to the rows of every gate and to the columns: P W_hh P^T.

    Args:
        axes: of all policies, such as `axes(policy, example)` finds for RNN, GRU, LSTM, linear and convolutional layers.
        policies: two or more, of one architecture.
        shares: in the average; equal by default.
        sweeps: over all policies at most, after each has joined.
        annealing: temperature and steps.

    Raises:
        TooFewSets, BadParameter: no policy; shares that are not one for each; the table has spaces inside others (heads and their dims): leave
            them where they are with `axes.without(...)`.
        NamesDiffer, ShapesDiffer, TiesDiffer: policies of several architectures, or a table of another.
        IntegersDiffer: an integer tensor differs.

    >>> from loomweight.weights.axes import axes, random_orders
    >>> policy = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2))
    >>> table, weights = axes(policy, torch.ones(1, 3)), lw.load(policy)
    >>> others = [Permute.by(table, random_orders(table, seed))(weights) for seed in (1, 2)]
    >>> merged = fleet_merge(table, [weights, *others]).weights
    >>> all(torch.allclose(merged[name], weights[name]) for name in weights)
    True
    """
    parts = _checked(axes, policies, shares)
    how = annealing or Annealing()
    edits = [Permute.by(axes, {})]
    for k in range(1, len(policies)):
        edits.append(softly_matched(axes, policies[k], _average(_moved(policies, edits), parts[:k]), how))
    seen = {len(policies) - 1: tuple(edits[:-1])}
    for _ in range(sweeps if len(policies) > 2 else 0):
        if not _sweep(axes, policies, edits, parts, how, seen):
            break
    return Fleet(tuple(edits), _average(_moved(policies, edits), parts))


def fleet_rounds(
    axes: Axes,
    policies: Sequence[Weights],
    train: Callable[[Weights, int], Weights],
    *,
    rounds: int = 3,
    shares: Sequence[float] | None = None,
    annealing: Annealing | None = None,
) -> Fleet:
    """Merge, let every robot go on from the average with its own data, merge again.

    Args:
        axes: of all policies.
        policies: trained apart, before the first round.
        train: (average, k) -> the policy of robot k after some training from there.
        rounds: how often is merged.
        shares: in the average; equal by default.
        annealing: temperature and steps.

    Returns:
        What the last round merged.

    >>> from loomweight.weights.axes import axes
    >>> table = axes(torch.nn.Linear(1, 1), torch.ones(1, 1))
    >>> ends = [Weights.of({"weight": torch.full((1, 1), x), "bias": torch.zeros(1)}) for x in (0.0, 4.0)]
    >>> fleet_rounds(table, ends, lambda average, k: 0.5 * (average + ends[k]), rounds=2).weights["weight"]
    tensor([[2.]])
    """
    if rounds < 1:
        raise BadParameter(f"policies are merged once at least, found rounds = {rounds}.")
    found = fleet_merge(axes, policies, shares=shares, annealing=annealing)
    for _ in range(rounds - 1):
        trained = [train(found.weights, k) for k in range(len(policies))]
        found = fleet_merge(axes, trained, shares=shares, annealing=annealing)
    return found


def _sweep(
    axes: Axes, policies: Sequence[Weights], edits: list[Permute], shares: Sequence[float], annealing: Annealing, seen: dict[int, tuple[Permute, ...]]
) -> bool:
    """Match each policy but the first to the mean of the others; True where one has found a better order.

    `seen` has the orders of the others that a policy was last matched to: while they are the same there is nothing new to find.
    """
    changed = False
    for k in range(1, len(policies)):
        others = [i for i in range(len(policies)) if i != k]
        orders = tuple(edits[i] for i in others)
        if k in seen and all(new is old for new, old in zip(orders, seen[k], strict=True)):
            continue
        seen[k] = orders
        mean = _average(_moved([policies[i] for i in others], orders), [shares[i] for i in others])
        new = softly_matched(axes, policies[k], mean, annealing)
        if inner(new(policies[k]), mean) > inner(edits[k](policies[k]), mean) * (1 + 1e-12):
            edits[k], changed = new, True
    return changed


def _checked(axes: Axes, policies: Sequence[Weights], shares: Sequence[float] | None) -> list[float]:
    found = list(shares) if shares is not None else [1.0] * len(policies)
    if not policies or len(found) != len(policies) or not all(share > 0 for share in found):
        raise BadParameter(f"FLEET-MERGE needs policies and a positive share for each; found {len(policies)} policies and shares {found}.")
    if nested := [name for name, space in axes.spaces.items() if space.within]:
        outer = ", ".join(repr(parent) for name in nested for parent in axes.spaces[name].within)
        raise BadParameter(f"units of {nested[0]!r} lie inside others, for which there are no soft orders; leave them where they are: axes.without({outer}).")
    for policy in policies:
        agree(policies[0], policy)
        axes.fits(policy)
    return found


def _moved(policies: Sequence[Weights], edits: Sequence[Permute]) -> list[Weights]:
    return [edit(policy) for policy, edit in zip(policies, edits, strict=False)]


def _average(sets: Sequence[Weights], shares: Sequence[float]) -> Weights:
    """The weighted mean, lazily; integer tensors must be equal."""
    first, total = sets[0], sum(shares)
    spec = {name: Spec(s.shape, _widest([other.spec[name].dtype for other in sets])) for name, s in first.spec.items()}

    def open_(name: str) -> Block:
        reads = [other.open(name) for other in sets]
        if not spec[name].averages:
            if any(not torch.equal(first[name], other[name]) for other in sets):
                raise IntegersDiffer(f"integer tensor {name!r} differs between the policies; integers are never averaged: make them equal.")
            return reads[0]

        def block(lo: int, hi: int) -> torch.Tensor:
            mean = reads[0](lo, hi).to(spec[name].work) * (shares[0] / total)
            for read, share in zip(reads[1:], shares[1:], strict=True):
                mean.add_(read(lo, hi).to(spec[name].work), alpha=share / total)
            return mean

        return block

    return Weights(spec, open_, ties=first.ties, origin=("average", *sets, *shares), label=f"average of {len(sets)} policies")


def _widest(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    found = dtypes[0]
    for dtype in dtypes[1:]:
        found = torch.promote_types(found, dtype)
    return found
