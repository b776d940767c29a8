"""Soft orders: doubly stochastic matrices in place of permutations, moved towards what two weight sets have in common.

Papers: A graduated assignment algorithm for graph matching (1996, https://doi.org/10.1109/34.491619); Learning Latent Permutations with
Gumbel-Sinkhorn Networks (2018, https://arxiv.org/abs/1802.08665): the Sinkhorn operator at a temperature.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..edits.permute import Permute
from ..errors import BadParameter
from ..shapes import Float64
from ..weights import Weights
from ..weights.axes import Axes, Axis, Term
from ..weights.axes.orders import Orders, then
from .assignment import assignment
from .weight_matching import weight_matching

#: by name, in float64
Tensors = Mapping[str, Tensor]

_STATISTICS = ("running_mean", "running_var")
#: sums of rows, or entries of a matrix, that are this near to 1 are 1
_DONE = 1e-9


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
    logs = pull / temperature
    for _ in range(rounds):
        rows = logs.logsumexp(1, keepdim=True)
        logs = logs - rows
        logs = logs - logs.logsumexp(0, keepdim=True)
        if rows.abs().max() < _DONE:
            break
    return logs.exp()


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
    """Space -> the derivative of the inner product: what each place (a row) has in common with each unit (a column)."""
    leaves = {name: matrix.clone().requires_grad_() for name, matrix in soft.items()}
    for name, goal in reference.items():
        moved = moving[name]
        for at, axis in enumerate(axes.layouts[name].axes):
            moved = _moved(axes, moved, at, axis, leaves)
        if moved.requires_grad:
            (moved * goal).sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def inner(first: Weights, second: Weights) -> float:
    """The inner product of what counts in two sets."""
    return sum(float((first[name].double() * second[name].double()).sum()) for name in counted(second))


def counted(weights: Weights) -> list[str]:
    """Floating tensors, each physical one once, without what is measured on data."""
    return [name for name in weights.physical if weights.spec[name].averages and name.rpartition(".")[2] not in _STATISTICS]


def _moved(axes: Axes, tensor: Tensor, at: int, axis: Axis, orders: Orders) -> Tensor:
    if not any(isinstance(factor, str) for term in axis for factor in term):
        return tensor
    parts = tensor.split([axes.length((term,)) for term in axis], at)
    return torch.cat([_turned(axes, part, at, term, orders) for part, term in zip(parts, axis, strict=True)], at)


def _turned(axes: Axes, part: Tensor, at: int, term: Term, orders: Orders) -> Tensor:
    apart = part.unflatten(at, axes.sizes(term))
    for f, factor in enumerate(term):
        if isinstance(factor, str):
            lead = apart.movedim(at + f, 0)
            apart = (orders[factor] @ lead.reshape(len(lead), -1)).reshape(lead.shape).movedim(0, at + f)
    return apart.flatten(at, at + len(term) - 1)
