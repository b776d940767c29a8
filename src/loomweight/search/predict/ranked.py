"""Any predictor, trained on where labels stand among each other instead of on the labels.

Source: Order tests for the two-sample problem and their power (1952, https://doi.org/10.1016/S1385-7258(52)50063-5), van der Waerden's normal scores.
Accuracies of random architectures are skewed: a few that hardly learn lie far below all others, and squared errors are spent on them. Normal scores
give every rank the same care (docs/BENCHMARKS.md measures what that is worth).
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from .predictor import Array, Learned, Posterior, Predictor


@dataclass(frozen=True)
class Ranked(Predictor):
    """Labels become normal scores, the r-th smallest of n the quantile (r - 1/2) / n of N(0, 1); predictions go back through the same curve.

    Between labels the curve is linear, beyond them it goes on with the slope of least squares, so no two predictions are made equal at the ends.
    The spread is half the distance between what one standard deviation to either side becomes.

    Args:
        inner: what learns the scores.

    >>> from loomweight.search import Ridge
    >>> Ranked(Ridge(0.1)).fit([[0.0], [1.0], [2.0], [3.0]], [10.0, 90.0, 91.0, 92.0]).predict([[1.5]]).round(1)
    array([90.5])
    """

    inner: Predictor

    def learn(self, x: Array, y: Array) -> Learned:
        """Fit the inner predictor to the scores."""
        scores, levels = _curve(y)
        slope = np.polyfit(scores, levels, 1)[0] if len(levels) > 1 else 0.0
        learned = self.inner.learn(x, np.interp(y, levels, scores))

        def back(values: Array) -> Array:
            beyond = np.minimum(values - scores[0], 0) + np.maximum(values - scores[-1], 0)
            return np.interp(values, scores, levels) + slope * beyond

        def belief(rows: Array) -> Posterior:
            found = learned(rows)
            return Posterior(back(found.mean), (back(found.mean + found.spread) - back(found.mean - found.spread)) / 2)

        return belief


def _curve(y: Array) -> tuple[Array, Array]:
    """Scores of the different labels, from the smallest, and the labels; equal labels share the mean of their ranks."""
    levels, counts = np.unique(y, return_counts=True)
    shares = (np.cumsum(counts) - counts / 2) / len(y)
    return np.array([NormalDist().inv_cdf(share) for share in shares]), levels
