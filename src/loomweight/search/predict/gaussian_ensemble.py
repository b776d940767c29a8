"""Several Gaussian processes, each as far as it foresees what it was not told.

Paper: GP-NAS-ensemble: a model for NAS Performance Prediction (2023, https://arxiv.org/abs/2301.09231). It makes an
ensemble of GP-NAS models. We know its abstract and code of GP-NAS, not the whole text, so the members (kernels, lengths, amounts of noise) and their weights
are ours: by the predictive density of leaving one out, which a Gaussian process has in closed form.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from ...errors import BadParameter
from .gaussian import GaussianProcess, fitted
from .predictor import Array, Learned, Posterior, Predictor

GRID = tuple(GaussianProcess(kernel, length, noise) for kernel, length, noise in product(("exponential", "gaussian"), (1.0, 3.0, 10.0), (0.03, 0.3)))


@dataclass(frozen=True)
class GaussianEnsemble(Predictor):
    """A mixture of Gaussian processes with weights proportional to exp(sharpness n L), L the mean log density of a label that was left out.

    Mean and variance are the mixture's: the members' disagreement is part of the spread.

    Args:
        members: the processes; two kernels, three lengths and two amounts of noise where none are given.
        sharpness: 0 weighs all members the same, 1 by the whole (pseudo-)likelihood.

    Raises:
        BadParameter: there is no member, or the sharpness is negative.

    >>> x = [[0.0], [1.0], [2.0], [3.0], [4.0]]
    >>> GaussianEnsemble().fit(x, [0.0, 1.0, 2.0, 3.0, 4.0]).predict([[2.5]]).round(1)
    array([2.5])
    """

    members: tuple[GaussianProcess, ...] = GRID
    sharpness: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        if not self.members or not self.sharpness >= 0:
            raise BadParameter(f"an ensemble needs members and a sharpness that is not negative; found {len(self.members)} and {self.sharpness}.")

    def learn(self, x: Array, y: Array) -> Learned:
        """Fit all members, and weigh them."""
        fits = [fitted(member, x, y) for member in self.members]
        shares = _shares(np.array([fit.log_density for fit in fits]) * len(y) * self.sharpness)
        kept = [(share, fit) for share, fit in zip(shares.tolist(), fits, strict=True) if share > 1e-3]

        def belief(rows: Array) -> Posterior:
            found = [(share, fit.belief(rows)) for share, fit in kept]
            total = sum(share for share, _ in found)
            mean = sum((share * each.mean for share, each in found), np.zeros(len(rows))) / total
            square = sum((share * (each.spread**2 + (each.mean - mean) ** 2) for share, each in found), np.zeros(len(rows))) / total
            return Posterior(mean, np.sqrt(square))

        return belief


def _shares(scores: Array) -> Array:
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()
