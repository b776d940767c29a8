"""The target's update and the sources', mixed by how much each is worth to the target.

Paper: Principled Federated Domain Adaptation: Gradient Projection and Auto-Weighting (2023, https://arxiv.org/abs/2302.05049).

Read with the authors' code (jackyzyb/AutoFedGP, 7b10ca9, empirical_metric.py), whose estimates are these; ours come of inner products.
"""

from dataclasses import dataclass

from torch import Tensor

from .target import ForTarget, spread


@dataclass(frozen=True)
class FedDA(ForTarget):
    """w <- w + sum_i p_i ((1 - b_i) D_T + b_i D_i), with b_i = s^2 / (s^2 + d_i^2).

    d_i^2 = max(|g_T - g_i|^2 - s^2, 0) for the mean steps g, the noise of g_T taken off.

    Args:
        target: the client whose data the model is for.
        beta: one number for all sources and rounds; None chooses b_i in each round, and needs `objective=(EachStep([target]),)`.

    >>> FedDA("ann", beta=0.5)
    FedDA(target='ann', beta=0.5)
    """

    def used(self, target: Tensor, source: Tensor) -> Tensor:
        """All of it."""
        return source

    def away(self, gram: Tensor, steps: int) -> Tensor:
        """d_i^2."""
        own = gram[:steps, :steps]
        apart = own.mean() - 2 * gram[:steps, steps:].mean(0) + gram.diagonal()[steps:]
        return (apart - spread(own) / steps).clamp(min=0)
