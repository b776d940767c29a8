"""Rank correlation that does not ask for an order finer than the noise.

Paper: How to Train Your Super-Net: An Analysis of Training Heuristics in Weight-Sharing NAS (2020, https://arxiv.org/abs/2003.04276),
section 3.3. Original code: https://github.com/kcyu2014/eval-nas (search_policies/cnn/search_space/nas_bench/util.py). We differ: the code
compares, place by place, the bins of the true order with those of the predicted one; ours counts pairs of architectures in
different bins, so that it is Kendall's tau where no two share a bin.
"""

from math import inf, sqrt

import numpy as np

from ...errors import BadParameter
from .correlation import AT_ONCE, Interval, Numbers, paired, resampled, signed_pairs, tau


def sparse_kendall(scores: Numbers, truth: Numbers, noise: float, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """(concordant - discordant) / pairs, over the pairs whose truth differs after rounding to multiples of `noise`.

    1 where all such pairs are in order, however the others are.

    Args:
        scores: what ranks.
        truth: accuracy of stand-alone training.
        noise: step to which the truth is rounded: 0.1 points in the paper; the spread between seeds is a good one (`seed_noise`).
        resamples, level, seed: as for `kendall`.

    Raises:
        BadParameter: the noise is not above 0, or as for `kendall`.
        TooFewSets, NonFinite: as for `kendall`.

    >>> from loomweight.evaluate import kendall
    >>> scores, truth = [1, 2, 3, 4], [90.0, 91.02, 91.01, 92.0]
    >>> round(kendall(scores, truth, resamples=0).value, 4), round(sparse_kendall(scores, truth, 0.1, resamples=0).value, 4)
    (0.6667, 1.0)
    """
    if not 0 < noise < inf:
        raise BadParameter(f"the noise is a step above 0, found {noise}.")
    rows = paired(scores, truth)
    rows[1] = np.round(rows[1] / noise)
    return resampled(_sparse, paired(*rows), resamples, level, seed)


def _sparse(rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    if rows.shape[1] > AT_ONCE:
        return np.array([_one(rows[:, draw]) for draw in draws])
    agree, _, untied = signed_pairs(rows, draws)
    return np.divide(agree, untied, out=np.full(agree.shape, np.nan), where=untied > 0)


def _one(rows: np.ndarray) -> float:
    untied = [_untied(row) for row in rows]
    return tau(rows) * sqrt(untied[0] / untied[1]) if min(untied) else float("nan")


def _untied(row: np.ndarray) -> int:
    counts = np.unique(row, return_counts=True)[1]
    return (len(row) ** 2 - int((counts**2).sum())) // 2
