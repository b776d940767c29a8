"""Coefficients from a Dirichlet distribution whose concentrations are learned.

Paper: DrNAS: Dirichlet Neural Architecture Search (2020, https://arxiv.org/abs/2006.10355), equations 3 and 6.

The gradient of a draw is that of the gamma variables that it is made of. The paper holds the concentrations near 1 by a distance; its code
offers the squared norm of the alphas and the Kullback-Leibler divergence, of which this is the latter.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Dirichlet as Distribution
from torch.distributions import kl_divergence
from torch.nn.functional import elu

from ...errors import BadParameter
from .coefficients import Coefficients, Field


@dataclass(frozen=True)
class Dirichlet(Coefficients):
    """coefficients ~ Dir(elu(alpha) + 1); the concentrations are 1, and all coefficients alike likely, while the alphas are 0.

    Args:
        anchor: factor of the divergence from Dir(1), added to the architecture's loss.

    >>> random = torch.Generator().manual_seed(0)
    >>> bool(torch.isclose(Dirichlet().draw(torch.zeros(3), Field("width", (2, 4, 8)), random, 0.0).sum(), torch.tensor(1.0)))
    True
    """

    anchor: float = 1e-3

    def __post_init__(self) -> None:
        if not self.anchor >= 0:
            raise BadParameter(f"the factor of the anchor is at least 0, found {self.anchor}.")

    def draw(self, alpha: Tensor, field: Field, random: torch.Generator, done: float) -> Tensor:
        """A draw; its gradient reaches the alphas."""
        gamma = torch._standard_gamma(_concentration(alpha).cpu(), random)  # pyright: ignore[reportPrivateImportUsage]  rsample takes no generator
        gamma = gamma.clamp_min(1e-20).to(alpha.device)
        return gamma / gamma.sum()

    def mean(self, alpha: Tensor, field: Field) -> Tensor:
        """Concentration k / sum of concentrations."""
        concentration = _concentration(alpha)
        return concentration / concentration.sum()

    def penalty(self, alpha: Tensor) -> Tensor:
        """anchor x KL(Dir(elu(alpha) + 1), Dir(1))."""
        if not self.anchor:
            return super().penalty(alpha)
        return self.anchor * kl_divergence(Distribution(_concentration(alpha)), Distribution(torch.ones_like(alpha)))


def _concentration(alpha: Tensor) -> Tensor:
    return elu(alpha).add(1).clamp_min(1e-6)
