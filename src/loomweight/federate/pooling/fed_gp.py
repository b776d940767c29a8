"""The target's update, and what of it points the way the sources go.

Paper: Principled Federated Domain Adaptation: Gradient Projection and Auto-Weighting (2023, https://arxiv.org/abs/2302.05049).

Read with the authors' code (jackyzyb/AutoFedGP, 7b10ca9). It multiplies a source's update by the cosine and by a ratio of step counts and rates that
stands for |g_T| / |g_i|; here it is the paper's projection itself. As there, each tensor is projected alone and the weights b_i are of all tensors together.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .target import ForTarget, spread


@dataclass(frozen=True)
class FedGP(ForTarget):
    """w <- w + sum_i p_i ((1 - b_i) D_T + b_i max(<D_T, D_i>, 0) D_i / |D_i|^2), tensor by tensor, with b_i = s^2 / (s^2 + t_i^2).

    A source that goes against the target adds nothing. t_i^2 is the square of what the projection on source i loses of the target's
    mean step, its noise taken off.

    Args:
        target: the client whose data the model is for.
        beta: one number for all sources and rounds; None chooses b_i in each round, and needs `objective=(EachStep([target]),)`.

    >>> FedGP("ann").used(torch.tensor([1.0, 1.0]), torch.tensor([3.0, 0.0]))
    tensor([1., 0.])
    >>> FedGP("ann").used(torch.tensor([1.0, 1.0]), torch.tensor([-3.0, 0.0]))
    tensor([-0., 0.])
    """

    def used(self, target: Tensor, source: Tensor) -> Tensor:
        """The positive projection of the target's update on the source's."""
        inner, square = (target * source).sum().clamp(min=0), source.square().sum()
        return source * (inner / square if square > 0 else 0.0)

    def away(self, gram: Tensor, steps: int) -> Tensor:
        """t_i^2."""
        own, across, squares = gram[:steps, :steps], gram[:steps, steps:], gram.diagonal()[steps:]
        along = across / squares.clamp(min=1e-300).sqrt()  # <g_j, s_i> / |s_i|
        lost = own.mean() - along.mean(0).square()
        noise = (spread(own) - along.var(0)) / steps
        return torch.where(squares > 0, (lost - noise).clamp(min=0), own.mean().clamp(min=0))
