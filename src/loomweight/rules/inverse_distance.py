"""Inverse distance aggregation: sets near the mean count more.

Paper: Inverse Distance Aggregation for Federated Learning with Non-IID Data (2020, https://arxiv.org/abs/2008.07665).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..shapes import Float64
from .geometry import centred_on, core, distances_to, refuse_negative, shares, squared_distances
from .rule import Weighing

_AT = 1e-12  # a distance below this part of the largest one counts as none


@dataclass(frozen=True)
class InverseDistance(Weighing):
    """A mean in which sets count the more, the nearer they are to the mean.

    sum_i c_i w_i with c_i proportional to a_i / |w_i - mean|, the mean being weighted by a_i; Euclidean distances.

    Sets that are the mean itself share everything, which is the limit of the formula. Breakdown point 0: a set far enough
    away drags the mean, from which all others are then equally far, and keeps a coefficient of about 1 / (n - 1)^2.

    Args:
        weights: a_i (sample counts), none negative; None is 1 for each.

    Raises:
        BadParameter: weights that are negative or all 0.

    >>> from loomweight.rules import combine
    >>> combine([{"w": torch.tensor([x])} for x in (0.0, 2.0, 7.0)], InverseDistance())["w"]  # mean 3: shares of 1/3, 1, 1/4
    tensor([2.3684])
    """

    weights: tuple[float, ...] | None = None

    def check(self, n: int) -> None:
        """Raise for weights that cannot be."""
        super().check(n)
        refuse_negative(self, self.weights)

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """Positive, summing to 1."""
        weight = shares(self.weights, len(gram))
        central, _ = core(squared_distances(gram.numpy()), weight)
        away = distances_to(centred_on(gram.numpy(), int(central.argmax())), weight)
        at = (away <= _AT * away.max()) & (weight > 0)
        share = weight * at if at.any() else weight / away.clip(min=_AT * away.max())
        return torch.from_numpy(share / share.sum())
