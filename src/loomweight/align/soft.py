"""Soft orders: doubly stochastic matrices in place of permutations, moved towards what two weight sets have in common.

Papers: A graduated assignment algorithm for graph matching (1996, https://doi.org/10.1109/34.491619); Learning Latent Permutations with
Gumbel-Sinkhorn Networks (2018, https://arxiv.org/abs/1802.08665): the Sinkhorn operator at a temperature.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..edits.permute import Permute
from ..errors import BadParameter
from ..shapes import Float64
from ..weights import Weights
from ..weights.axes import Axes, Axis, Term
from ..weights.axes.orders import then
from .assignment import assignment
from .weight_matching import weight_matching

#: by name, in float64
Tensors = Mapping[str, Tensor]

_STATISTICS = ("running_mean", "running_var")
#: sums of rows, or entries of a matrix, that are this near to 1 are 1
_DONE = 1e-9
#: factors beyond this are taken into the logarithms before rounds go on
_EXTREME = 1e100


@dataclass(frozen=True)
class Annealing:
    """How soft orders become hard.

    Args:
        temperature: of the first step, in units of the spread of what pulls the units to their places.
        cooling: each step's temperature, of the one before.
        steps: how many; the last is at `temperature * cooling ** (steps - 1)`.
        rounds: of Sinkhorn's normalization in each.

    >>> Annealing().temperature
    1.0
    """

    temperature: float = 1.0
    cooling: float = 0.93
    steps: int = 60
    rounds: int = 40

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and 0 < self.cooling <= 1 and self.steps >= 1 and self.rounds >= 1):
            raise BadParameter(f"a temperature is positive, cooling lies between 0 and 1, and there is a step and a round at least; found {self}.")


def sinkhorn(pull: Float64[Tensor, "n n"], temperature: float, rounds: int) -> Float64[Tensor, "n n"]:
    """exp(pull / temperature) with rows and columns divided by their sums, in turn, columns last.

    >>> sinkhorn(torch.tensor([[9.0, 0.0], [9.0, 1.0]]).double(), 0.5, 1000).round(decimals=2)
    tensor([[0.7300, 0.2700],
            [0.2700, 0.7300]], dtype=torch.float64)
    """
    logs, left = pull / temperature, rounds
    while left:
        rows = logs.logsumexp(1, keepdim=True)
        logs = logs - rows
        logs, left = logs - logs.logsumexp(0, keepdim=True), left - 1
        if rows.abs().max() < _DONE:
            break
        logs, left = _scaled(logs, left)
    return logs.exp()


def _scaled(logs: Float64[Tensor, "n n"], rounds: int) -> tuple[Float64[Tensor, "n n"], int]:
    """The same rounds by factors of rows and columns, which needs no exponentials, as long as no factor is extreme; and how many are left."""
    matrix = logs.exp()
    rows, columns = (torch.ones(len(logs), dtype=torch.float64) for _ in range(2))
    for done in range(rounds):
        sums = matrix @ columns
        change = (sums * rows - 1).abs().max()
        new_rows = 1 / sums
        new_columns = 1 / (new_rows @ matrix)
        least, most = torch.cat([new_rows, new_columns]).aminmax()
        if not (least > 1 / _EXTREME and most < _EXTREME):
            return logs + rows.log()[:, None] + columns.log(), rounds - done
        rows, columns = new_rows, new_columns
        if change < _DONE:
            return logs + rows.log()[:, None] + columns.log(), 0
    return logs + rows.log()[:, None] + columns.log(), 0


def softly_matched(axes: Axes, moving: Weights, reference: Weights, annealing: Annealing) -> Permute:
    """Maximize sum over tensors <reference, P(moving)> over doubly stochastic P, softly first, and take the nearest orders.

    Every axis that carries a space is moved by its matrix: of a recurrent weight it is both, P W P^T. All spaces move at once, from matrices
    that say nothing (1 / n everywhere); both sets are held in float64. What the orders at the end miss by rounding, `weight_matching` climbs from there.
    """
    held, goal = ({name: weights[name].double().cpu() for name in counted(reference)} for weights in (moving, reference))
    soft = {name: torch.full((space.size, space.size), 1 / space.size, dtype=torch.float64) for name, space in axes.spaces.items()}
    temperature = annealing.temperature
    for _ in range(annealing.steps):
        before = soft
        pull = pulls(axes, held, goal, soft)
        soft = soft | {name: sinkhorn(pull[name], temperature * float(pull[name].std()) + 1e-300, annealing.rounds) for name in pull}
        temperature *= annealing.cooling
        if all((soft[name] - before[name]).abs().max() < _DONE for name in soft):
            break
    found = Permute.by(axes, {name: assignment(matrix) for name, matrix in soft.items()})
    last = weight_matching(axes, found(moving), reference)
    return Permute.by(axes, then(axes, dict(found.orders), dict(last.orders)))


def pulls(axes: Axes, moving: Tensors, reference: Tensors, soft: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Space -> the derivative of the inner product: what each place (a row) has in common with each unit (a column).

    By one place of a space among the axes of a tensor it is R W^T, with the other places of W moved before it and R moved back behind it.
    """
    found: dict[str, Tensor] = {}
    back = {name: matrix.mT for name, matrix in soft.items()}
    for name, goal in reference.items():
        layout, moved = axes.layouts[name], moving[name]
        places = [(at, f) for at, axis in enumerate(layout.axes) for f in range(max(map(len, axis))) if _spaces(axis, f)]
        goals = [goal]
        for at, f in places[:0:-1]:
            goals.append(_turned(axes, goals[-1], at, layout.axes[at], f, back))
        for number, (at, f) in enumerate(places):
            for space, pull in _common(axes, moved, goals.pop(), at, layout.axes[at], f):
                found[space] = found[space] + pull if space in found else pull
            if number < len(places) - 1:
                moved = _turned(axes, moved, at, layout.axes[at], f, soft)
    return found


def inner(first: Weights, second: Weights) -> float:
    """The inner product of what counts in two sets."""
    return sum(float((first[name].double() * second[name].double()).sum()) for name in counted(second))


def counted(weights: Weights) -> list[str]:
    """Floating tensors, each physical one once, without what is measured on data."""
    return [name for name in weights.physical if weights.spec[name].averages and name.rpartition(".")[2] not in _STATISTICS]


def _spaces(axis: Axis, f: int) -> list[str]:
    """The spaces that are factor f of the terms of an axis."""
    return [factor for term in axis for factor in term[f : f + 1] if isinstance(factor, str)]


def _parts(axes: Axes, tensor: Tensor, at: int, axis: Axis, f: int) -> Iterator[tuple[Term, Tensor]]:
    """Each term of an axis and its part of the tensor, factor f in front."""
    for term, part in zip(axis, tensor.split([axes.length((term,)) for term in axis], at), strict=True):
        yield term, part.unflatten(at, axes.sizes(term)).movedim(at + min(f, len(term) - 1), 0)


def _turned(axes: Axes, tensor: Tensor, at: int, axis: Axis, f: int, matrices: Mapping[str, Tensor]) -> Tensor:
    """A tensor with factor f of an axis mixed by its space's matrix."""
    done = []
    for term, lead in _parts(axes, tensor, at, axis, f):
        moves = _spaces((term,), f)
        mixed = (matrices[moves[0]] @ lead.reshape(len(lead), -1)).reshape(lead.shape) if moves else lead
        done.append(mixed.movedim(0, at + min(f, len(term) - 1)).flatten(at, at + len(term) - 1))
    return done[0] if len(done) == 1 else torch.cat(done, at)


def _common(axes: Axes, moved: Tensor, goal: Tensor, at: int, axis: Axis, f: int) -> Iterator[tuple[str, Tensor]]:
    """Factor f's spaces, and what their places in the goal have in common with the units of the moved tensor."""
    for (term, ours), (_, theirs) in zip(_parts(axes, moved, at, axis, f), _parts(axes, goal, at, axis, f), strict=True):
        for space in _spaces((term,), f):
            yield space, theirs.reshape(len(theirs), -1) @ ours.reshape(len(ours), -1).T
