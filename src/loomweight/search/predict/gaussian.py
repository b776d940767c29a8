"""A Gaussian process over encoded configurations whose mean is linear in them.

Papers: GP-NAS: Gaussian Process Based Neural Architecture Search (2020,
https://openaccess.thecvf.com/content_CVPR_2020/html/Li_GP-NAS_Gaussian_Process_Based_Neural_Architecture_Search_CVPR_2020_paper.html),
the model: f(x) = w'(x, 1) + g(x), w ~ N(w0, linear I), g with kernel exp(-|x - x'| / l) or exp(-|x - x'|^2 / l^2);
Gaussian Processes for Machine Learning (2006, https://gaussianprocess.org/gpml/), equations 2.42 (explicit basis functions) and 5.10 to 5.12 (leave
one out). The authors' code (PaddleSlim) finds w0 by least squares, w's posterior in d dimensions, then the process of what is left. That is the process with
the kernel k(x, x') + linear (x'x' + 1), which is what is solved here, with w0 = 0 for standardised labels, in n dimensions. Their lengths, 12 and 4, are in
units of their encoding, ours is a multiple of the median distance between the labelled rows. They add 1e-7 to the diagonal, we state the noise.
"""

from dataclasses import dataclass

import numpy as np

from ...errors import BadParameter
from .predictor import Array, Learned, Posterior, Predictor, Scale


@dataclass(frozen=True)
class GaussianProcess(Predictor):
    """Posterior of a Gaussian process with covariance s^2 (k(x, x') + linear (x'x' / d + 1) + noise [x = x']).

    mean = c(x)'C^-1 y and variance = c(x, x) - c(x)'C^-1 c(x) of the standardised columns and labels. s^2 is the one at which the squared
    errors of leaving one out are, on average, what their variances say. The spread is of a new measurement, noise included.

    Args:
        kernel: "exponential" (rough) or "gaussian" (smooth).
        length: l, as a multiple of the median distance between labelled rows.
        noise: the variance of a label's error, over s^2.
        linear: the variance of the linear mean's weights, over s^2; 0 for a process without one.

    Raises:
        BadParameter: a length or noise that is not above 0, or a negative `linear`.

    >>> x = [[0.0], [1.0], [2.0], [3.0]]
    >>> GaussianProcess(noise=1e-6).fit(x, [0.0, 1.0, 4.0, 9.0]).predict(x).round(3) + 0.0
    array([0., 1., 4., 9.])
    """

    kernel: str = "exponential"
    length: float = 1.0
    noise: float = 0.1
    linear: float = 1.0

    def __post_init__(self) -> None:
        if self.kernel not in ("exponential", "gaussian"):
            raise BadParameter(f"kernel is 'exponential' or 'gaussian', found {self.kernel!r}.")
        if not (self.length > 0 and self.noise > 0 and self.linear >= 0):
            raise BadParameter(f"length and noise are above 0 and linear is not negative; found {self}.")

    def learn(self, x: Array, y: Array) -> Learned:
        """The posterior, by one inverse."""
        return fitted(self, x, y).belief


@dataclass(frozen=True)
class Fitted:
    """A process that has seen labels; `log_density` is the logarithm of the density that labels have when each is left out in turn, their mean."""

    process: GaussianProcess
    rows: Array
    columns: Scale
    labels: Scale
    unit: float
    inverse: Array
    weights: Array
    scale: float
    log_density: float

    def belief(self, x: Array) -> Posterior:
        """Mean and spread of each row, 2,048 rows at a time."""
        parts = [self._belief(x[start : start + 2048]) for start in range(0, len(x), 2048)]
        mean, variance = (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else (np.zeros(0), np.zeros(0))
        return self.labels.undo(Posterior(mean, np.sqrt(self.scale * variance)))

    def _belief(self, x: Array) -> tuple[Array, Array]:
        points, process = self.columns.apply(x), self.process
        across = covariance(process, points, self.rows, self.unit)
        alone = 1 + process.linear * ((points**2).mean(axis=1) + 1) + process.noise
        return across @ self.weights, np.maximum(alone - np.einsum("nm,mk,nk->n", across, self.inverse, across, optimize=True), 1e-12)


def fitted(process: GaussianProcess, x: Array, y: Array) -> Fitted:
    """The posterior of a process, and how well it foresees labels that are left out."""
    columns, labels = Scale.of(x), Scale.of(y)
    rows, values = columns.apply(x), labels.apply(y)
    apart = distances(rows, rows)[np.triu_indices(len(rows), 1)]
    unit = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    inverse: Array = np.linalg.inv(covariance(process, rows, rows, unit) + process.noise * np.eye(len(rows))).astype(np.float64)
    weights = inverse @ values
    variances = 1 / np.diag(inverse)
    errors = weights * variances
    scale = max(float(np.mean(errors**2 / variances)), 1e-12)
    log_density = -0.5 * float(np.mean(np.log(2 * np.pi * scale * variances) + errors**2 / (scale * variances))) - float(np.log(labels.stretch))
    return Fitted(process, rows, columns, labels, unit, inverse, weights, scale, log_density)


def covariance(process: GaussianProcess, a: Array, b: Array, unit: float) -> Array:
    """c(x, x') over s^2, without noise, for rows in standard units."""
    ratio = distances(a, b) / (process.length * unit)
    return np.exp(-(ratio if process.kernel == "exponential" else ratio**2)) + process.linear * (a @ b.T / a.shape[1] + 1)


def distances(a: Array, b: Array) -> Array:
    """Euclidean distances between rows."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0))
