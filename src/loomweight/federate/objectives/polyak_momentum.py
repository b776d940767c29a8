"""A worker's own momentum, over its tasks: what makes honest workers agree more than their batches do.

Paper: Robust Collaborative Learning with Linear Gradient Overhead (2022, https://arxiv.org/abs/2209.10931), algorithm 1, line 4 (MoNNA's Polyak momentum).

Code read: LPD-EPFL/robust-collaborative-learning at 3425aa1, peerToPeer.py, where the factor of the gradient is 1 - dampening.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...errors import BadParameter
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class PolyakMomentum(Term):
    """m <- beta m + (1 - beta) gradient, and m takes the gradient's place; m stays with the client from task to task.

    With torch's SGD without momentum of its own that is w <- w - rate m. The first task begins with m = 0.

    Args:
        beta: in [0, 1).

    Raises:
        BadParameter: beta is not.

    >>> PolyakMomentum(0.9).key
    'PolyakMomentum'
    """

    beta: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise BadParameter(f"PolyakMomentum: beta lies in [0, 1), found {self.beta}.")

    def gradient(self, work: "Work") -> None:
        """Between backward and the step."""
        memory = work.memory_of(self)
        for name, parameter in work.params.items():
            if parameter.grad is not None:
                before = memory.get(name, torch.zeros_like(parameter.grad))
                memory[name] = before * self.beta + parameter.grad * (1 - self.beta)
                parameter.grad.copy_(memory[name])
