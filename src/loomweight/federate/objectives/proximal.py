"""A pull towards the received weights.

Paper: Federated Optimization in Heterogeneous Networks (2018, https://arxiv.org/abs/1812.06127), equation 2 and algorithm 2.

Read: litian96/FedProx, flearn/optimizer/pgd.py at 6be8d405. There the pull is part of the gradient, which diverges once rate * mu > 2; here it is the
closed step of the quadratic term after the optimizer's (forward-backward splitting): it solves the same problem, for any mu, and mu = 0 is plain training.
Variable work of the devices is not the term's: `Local(steps=...)`, or the steps that an aggregate asks for.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...errors import BadParameter
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class Proximal(Term):
    """FedProx: minimise loss(w) + mu/2 ||w - received||^2. After each step, w <- (w + rate mu received) / (1 + rate mu).

    Args:
        mu: the strength of the pull, at least 0.

    Raises:
        BadParameter: mu is negative.

    >>> from loomweight.federate import Local, Strategy
    >>> strategy = Strategy(objective=(Proximal(0.1),), local=Local(steps=20))
    """

    mu: float

    def __post_init__(self) -> None:
        if not self.mu >= 0:
            raise BadParameter(f"Proximal: mu is at least 0, found {self.mu}.")

    @torch.no_grad()
    def stepped(self, work: "Work") -> None:
        """The step of the quadratic term."""
        pull = work.rate * self.mu
        if pull:
            for name, param in work.params.items():
                param.lerp_(work.start[name], pull / (1 + pull))
