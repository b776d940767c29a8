"""Optimal transport between the units of two networks, and the maps that a plan stands for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..edits.carry import UnitMap, UnitOrder
from ..errors import BadParameter, MissingExtra
from .assignment import best_order

#: a unit's mass is never below this part of the mean: dead units are carried along
LEAST = 1e-6
_STEPS = 10_000_000


@dataclass(frozen=True)
class Transport:
    """How units are transported.

    Args:
        reg: None: the exact plan; between sets of one size, all masses equal, it is a permutation. Otherwise the strength of the entropic
            regularisation, in units of the mean cost: plans are soft, and found by Sinkhorn's iteration.
        mass: "uniform": every unit has the same; "l1" or "l2": by this norm of its incoming weights.
        squared: costs are squared distances. The authors' experiments take plain ones.
        rounds: how often every space is visited. From the second on all tensors count that make its units, also those whose
            own inputs were not yet aligned in the first (the blocks of a residual stream, recurrent weights).
        shrink: N = T diag(1/b) too, as the paper has it; see `ot_fusion`.
        statistics: name patterns of what is measured rather than learned, and does not count in costs.

    Raises:
        BadParameter: `reg` is not positive, no round, or an unknown mass.

    >>> Transport(reg=-1.0)
    Traceback (most recent call last):
    loomweight.errors.BadParameter: reg must be positive, or None for the exact plan; found -1.0.
    """

    reg: float | None = None
    mass: str = "uniform"
    squared: bool = False
    rounds: int = 2
    shrink: bool = False
    statistics: tuple[str, ...] = ("*running_mean", "*running_var")

    def __post_init__(self) -> None:
        if self.reg is not None and not self.reg > 0:
            raise BadParameter(f"reg must be positive, or None for the exact plan; found {self.reg}.")
        if self.rounds < 1:
            raise BadParameter(f"rounds must be at least 1, found {self.rounds}.")
        if self.mass not in ("uniform", "l1", "l2"):
            raise BadParameter(f"mass must be 'uniform', 'l1' or 'l2', found {self.mass!r}.")

    def plan(self, cost: Tensor, mass: Tensor, reference_mass: Tensor) -> Tensor:
        """How much of each unit goes to each unit of the reference.

        Args:
            cost: (units, reference units), float64.
            mass: of the units; sums to 1.
            reference_mass: of the reference's; sums to 1.

        Returns:
            (units, reference units), whose sums are the masses.

        Raises:
            MissingExtra: POT is needed and not installed.
        """
        if self.reg is None and len(mass) == len(reference_mass) and self.mass == "uniform":
            return _assigned(cost)
        found = _exact(cost, mass, reference_mass) if self.reg is None else _entropic(cost, mass, reference_mass, self.reg)
        return torch.from_numpy(found)

    def unit_map(self, plan: Tensor) -> UnitMap | UnitOrder:
        """The map that a plan stands for."""
        found = unit_map(plan)
        return UnitMap(found.makes, found.makes.mT) if self.shrink and found.order is None else found

    def masses(self, sizes: Tensor) -> Tensor:
        """Masses from norms of incoming weights; they sum to 1 along the last axis."""
        if self.mass == "uniform":
            return torch.full_like(sizes, 1 / sizes.shape[-1])
        sizes = sizes.clamp_min(LEAST * sizes.mean(-1, keepdim=True).clamp_min(1e-300))
        return sizes / sizes.sum(-1, keepdim=True)


#: exact, every unit the same mass
EXACT = Transport()


def unit_map(plan: Tensor) -> UnitMap | UnitOrder:
    """The map of a plan T with masses a = T 1 and b = T^T 1: M = diag(1/b) T^T, N = diag(1/a) T.

    A new unit is the mean of what is sent to it; what consumed an old unit consumes the new ones in the proportions in which it
    was sent. The rows of both sum to 1. A plan that sends every unit to one other is an order.

    >>> unit_map(torch.tensor([[0.25], [0.75]])).makes, unit_map(torch.tensor([[0.25], [0.75]])).consumes
    (tensor([[0.2500, 0.7500]]), tensor([[1.],
            [1.]]))
    """
    if all(((plan != 0).sum(axis) == 1).all() for axis in (-2, -1)):
        return UnitOrder(plan.argmax(-2))
    return UnitMap((plan / plan.sum(-2, keepdim=True)).mT, plan / plan.sum(-1, keepdim=True))


def _assigned(cost: Tensor) -> Tensor:
    """The exact plan between as many units as places, as an order; ties by position."""
    plan = torch.zeros_like(cost)
    plan[torch.from_numpy(best_order(-cost.T.numpy())), torch.arange(len(cost))] = 1 / len(cost)
    return plan


def _exact(cost: Tensor, mass: Tensor, reference_mass: Tensor) -> Any:
    return _pot("emd")(mass.numpy(), reference_mass.numpy(), cost.contiguous().numpy(), numItermax=_STEPS)


def _entropic(cost: Tensor, mass: Tensor, reference_mass: Tensor, reg: float) -> Any:
    scale = float(cost.mean()) or 1.0
    sinkhorn = _pot("sinkhorn")
    return sinkhorn(mass.numpy(), reference_mass.numpy(), (cost / scale).numpy(), reg, method="sinkhorn_log", numItermax=5000, warn=False)


def _pot(name: str) -> Callable[..., Any]:
    try:
        import ot
    except ModuleNotFoundError as error:
        raise MissingExtra("optimal transport between different widths or masses needs POT; install it with: pip install 'loomweight[align]'") from error
    return getattr(ot, name)
