"""Ridge regression on encoded configurations: the baseline that other predictors have to beat.

Paper: Ridge Regression: Biased Estimation for Nonorthogonal Problems (1970, https://doi.org/10.1080/00401706.1970.10488634).
"""

from dataclasses import dataclass

import numpy as np

from ...errors import BadParameter
from .predictor import Array, Learned, Posterior, Predictor


@dataclass(frozen=True)
class Ridge(Predictor):
    """w = (X'X + strength I)^-1 X'y of centred columns and labels; the intercept is not shrunk.

    Its spread is that of Bayesian linear regression with prior N(0, s^2 / strength I) and noise s^2, s^2 from the residuals:
    s^2 (1 + 1/n + x'(X'X + strength I)^-1 x).

    Args:
        strength: of the penalty, above 0, in the unit of the encoding.

    Raises:
        BadParameter: the strength is not above 0.

    >>> Ridge(1e-6).fit([[0.0], [1.0], [3.0]], [1.0, 3.0, 7.0]).predict([[2.0]]).round(3)
    array([5.])
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise BadParameter(f"strength is above 0, found {self.strength}.")

    def learn(self, x: Array, y: Array) -> Learned:
        """The weights, by the d x d system."""
        middle, level = x.mean(axis=0), y.mean()
        centred = x - middle
        inverse = np.linalg.inv(centred.T @ centred + self.strength * np.eye(x.shape[1]))
        weights = inverse @ (centred.T @ (y - level))
        noise = np.sqrt(np.mean((y - level - centred @ weights) ** 2))

        def belief(rows: Array) -> Posterior:
            away = rows - middle
            return Posterior(away @ weights + level, noise * np.sqrt(1 + 1 / len(y) + np.einsum("nd,de,ne->n", away, inverse, away)))

        return belief
