"""From the architecture parameters of a field to the coefficients of its options: what all relaxations have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Field:
    """One thing that is chosen by gradient.

    Args:
        name: as the space calls it.
        options: what it may be.
        free: of each option, whether it has no parameters of its own.
        count: how many of the options a network keeps.
        subset: the value of the field names all that is kept: the edges of a node.
    """

    name: str
    options: tuple[Any, ...]
    free: tuple[bool, ...] = ()
    count: int = 1
    subset: bool = False


class Coefficients(ABC):
    """Alphas of one field, (k,), to coefficients of its k options, (k,). An option whose coefficient is exactly 0 need not run."""

    @abstractmethod
    def draw(self, alpha: Tensor, field: Field, random: torch.Generator, done: float) -> Tensor:
        """Coefficients for one forward pass in training.

        Args:
            alpha: the architecture parameters.
            field: whose they are.
            random: moves on.
            done: the share of the search that is done, from 0 to 1.
        """

    @abstractmethod
    def mean(self, alpha: Tensor, field: Field) -> Tensor:
        """Coefficients without chance, for evaluation."""

    def penalty(self, alpha: Tensor) -> Tensor:
        """What the architecture's loss has beside the model's."""
        return alpha.new_zeros(())


def hardened(soft: Tensor, count: int) -> Tensor:
    """1 for the `count` largest entries, 0 for the others, exactly; the gradient is that of `soft` (straight through).

    >>> soft = torch.tensor([0.2, 0.5, 0.3], requires_grad=True)
    >>> hardened(soft, 1).tolist()
    [0.0, 1.0, 0.0]
    """
    hard = torch.zeros_like(soft).scatter_(-1, soft.topk(count).indices, 1.0)
    return hard + (soft - soft.detach())
