"""Covariance-bound agnostic filter (CAF): weights of sets that stand out along the direction of largest variance are lowered.

Paper: Towards Trustworthy Federated Learning with Untrusted Participants (2025, https://arxiv.org/abs/2505.01874), algorithm 2 (CAF).
Other code, read for the definition: byzfl 0.0.11.
We differ from it: the direction is the exact eigenvector, from the n x n Gram matrix, where theirs is one step of the power method from a
random start, so that two calls give two results; and a set that has lost all its weight no longer sets the scale of the next step, which else
may never end. So there are n steps at most, and none of them reads the sets.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..shapes import Float64
from .geometry import Matrix, Vector, centred_on, core, squared_distances, tolerates
from .rule import Weighing

_EQUAL = 1e-9  # relative


@dataclass(frozen=True)
class CovarianceFilter(Weighing):
    """A weighted mean whose weights were lowered along directions of largest variance.

    From c_i = 1: with mu = sum_i c_i w_i / sum_i c_i and v the first eigenvector of sum_i c_i (w_i - mu)(w_i - mu)^T, c_i is
    multiplied by 1 - t_i / max t_j (over c_j > 0), t_i = <w_i - mu, v>^2, while sum_i c_i > n - 2 f. The result is the mu for which the largest
    eigenvalue of the covariance (the sum divided by sum_i c_i) was the smallest. No bound on the covariance has to be known.

    Bound: n > 2 f. Every step takes at least as much weight from bad sets as from good ones as long as the bad ones cause the variance.
    Sets with a weight in the mean are as far from it along v as the variance allows: f sets can move it only as far as hides
    them in the good sets' own variance. Breakdown point below (n - 1) / 2 sets.

    Args:
        f: how many sets may be bad.

    Raises:
        TooFewSets: n <= 2 f.

    >>> from loomweight.rules import combine
    >>> sets = [{"w": torch.tensor([x])} for x in (1.0, 2.0, 3.0, 99.0)]
    >>> combine(sets, CovarianceFilter(f=1))["w"].round(decimals=1)
    tensor([2.])
    """

    f: int = 0

    def check(self, n: int) -> None:
        """Raise unless n > 2 f."""
        super().check(n)
        tolerates(self, n, self.f, 2 * self.f + 1, "n > 2 f")

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """Not negative, summing to 1."""
        n = len(gram)
        central, _ = core(squared_distances(gram.numpy()), np.full(n, 1 / n))
        centred = centred_on(gram.numpy(), int(central.argmax()))
        weight, least, best = np.ones(n), np.inf, np.full(n, 1 / n)
        while weight.sum() > n - 2 * self.f:
            variance, along = _largest(centred, weight)
            if variance < least:
                least, best = variance, weight / weight.sum()
            if along.max() <= 0:
                break
            weight = weight * np.where(along >= along.max() * (1 - _EQUAL), 0, 1 - along / along.max())
        return torch.from_numpy(best)


def _largest(centred: Matrix, weight: Vector) -> tuple[float, Vector]:
    """The largest eigenvalue of the weighted covariance, and the squared length of each set, from the mean, along its eigenvector."""
    share = weight / weight.sum()
    away = centred - (centred @ share)[:, None] - share @ centred + share @ centred @ share
    root = np.sqrt(share)
    values, vectors = np.linalg.eigh(root[:, None] * away * root)
    largest = max(float(values[-1]), 0.0)
    return largest, np.where(weight > 0, (away @ (root * vectors[:, -1])) ** 2, 0)
