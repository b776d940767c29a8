"""Softmax of the alphas.

Paper: DARTS: Differentiable Architecture Search (2018, https://arxiv.org/abs/1806.09055), equation 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .coefficients import Coefficients, Field


@dataclass(frozen=True)
class Softmax(Coefficients):
    """coefficient k = exp(alpha k) / sum over j of exp(alpha j); every option runs.

    >>> Softmax().mean(torch.zeros(2), Field("width", (4, 8))).tolist()
    [0.5, 0.5]
    """

    def draw(self, alpha: Tensor, field: Field, random: torch.Generator, done: float) -> Tensor:
        """The same every time."""
        return alpha.softmax(-1)

    def mean(self, alpha: Tensor, field: Field) -> Tensor:
        """The softmax."""
        return alpha.softmax(-1)
