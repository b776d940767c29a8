"""Rank correlations with intervals from resampling.

Sources: A New Measure of Rank Correlation (1938, https://doi.org/10.1093/biomet/30.1-2.81), tau-b where there are ties; The Proof and
Measurement of Association between Two Things (1904, https://doi.org/10.2307/1412159); Bootstrap Methods: Another Look at the Jackknife
(1979, https://doi.org/10.1214/aos/1176344552), percentile intervals.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BadParameter, NonFinite, TooFewSets

Numbers = Sequence[float] | np.ndarray
#: up to so many architectures, resamples of tau are computed together, from a matrix of pairs
AT_ONCE = 1500


@dataclass(frozen=True)
class Interval:
    """An estimate and an interval around it.

    Args:
        value: on all that was given.
        low, high: ends of the interval.
        level: share of resamples inside it.
    """

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def kendall(first: Numbers, second: Numbers, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """Kendall's tau-b, (concordant - discordant) / sqrt(pairs untied in one * pairs untied in the other), with a bootstrap interval.

    Source: A New Measure of Rank Correlation (1938, https://doi.org/10.1093/biomet/30.1-2.81)

    Args:
        first, second: a number for each architecture, in the same order; larger is better in both.
        resamples: of architectures, with replacement; 0 for no interval (NaN ends).
        level: of the interval.
        seed: of a private generator.

    Raises:
        TooFewSets: fewer than three architectures.
        BadParameter: the lengths differ, or all numbers of one side are equal.
        NonFinite: a number is NaN or infinite.

    >>> kendall([1, 2, 3, 4], [1, 3, 2, 4], resamples=0).value        # five of six pairs agree
    0.6666666666666666
    """
    return resampled(taus, paired(first, second), resamples, level, seed)


def spearman(first: Numbers, second: Numbers, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """Spearman's rho, the correlation of ranks (mean ranks where numbers are equal), with a bootstrap interval.

    Source: The Proof and Measurement of Association between Two Things (1904, https://doi.org/10.2307/1412159)

    Args:
        first, second, resamples, level, seed: as for `kendall`.

    Raises:
        TooFewSets, BadParameter, NonFinite: as for `kendall`.

    >>> round(spearman([1, 2, 3, 4], [1, 3, 2, 4], resamples=0).value, 6)
    0.8
    """
    return resampled(rhos, paired(first, second), resamples, level, seed)


def paired(*columns: Numbers) -> np.ndarray:
    """Columns as one array (columns, architectures), checked."""
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
        raise BadParameter(f"numbers of the same architectures are compared, one each; found shapes {[array.shape for array in arrays]}.")
    if arrays[0].size < 3:
        raise TooFewSets(f"a ranking needs at least 3 architectures, found {arrays[0].size}.")
    for number, array in enumerate(arrays):
        if not np.isfinite(array).all():
            place = int((~np.isfinite(array)).argmax())
            raise NonFinite(f"sequence {number + 1} holds {array[place]} at {place}; leave such architectures out, or rank them last, and say so.")
        if np.ptp(array) == 0:
            raise BadParameter(f"all numbers of sequence {number + 1} are {array[0]}, so there is no order to compare.")
    return np.stack(arrays)


def tau(rows: np.ndarray) -> float:
    """Tau-b of two rows."""
    from scipy.stats import kendalltau

    found: Any = kendalltau(rows[0], rows[1])
    return float(found[0])


def rho(rows: np.ndarray) -> float:
    """Spearman's rho of two rows."""
    return float(rhos(rows, np.arange(rows.shape[1])[None])[0])


def taus(rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Tau-b of two rows for every resample (resamples, architectures); NaN where one is constant."""
    if rows.shape[1] > AT_ONCE:
        return np.array([tau(rows[:, draw]) for draw in draws])
    agree, first, second = signed_pairs(rows, draws)
    return _ratio(agree, np.sqrt(first * second))


def signed_pairs(rows: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Concordant - discordant pairs, and pairs untied in each row, of every resample: quadratic forms in how often each was drawn."""
    one, other = (np.sign(row[:, None] - row[None]).astype(np.float32) for row in rows)
    counts = np.stack([np.bincount(draw, minlength=rows.shape[1]) for draw in draws]).astype(np.float32)
    agree, first, second = (np.einsum("rn,rn->r", counts @ form, counts, dtype=np.float64) / 2 for form in (one * other, np.abs(one), np.abs(other)))
    return agree, first, second


def rhos(rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Spearman's rho of two rows for every resample; NaN where one is constant."""
    from scipy.stats import rankdata

    one, other = (ranks - ranks.mean(1, keepdims=True) for ranks in (rankdata(row[draws], axis=1) for row in rows))
    return _ratio((one * other).sum(1), np.sqrt((one**2).sum(1) * (other**2).sum(1)))


def resampled(statistics: Callable[[np.ndarray, np.ndarray], np.ndarray], rows: np.ndarray, resamples: int, level: float, seed: int) -> Interval:
    """A statistic of (columns, architectures), and its percentiles when architectures are drawn again."""
    if resamples < 0 or not 0 < level < 1:
        raise BadParameter(f"resamples is 0 or more and level between 0 and 1, found {resamples} and {level}.")
    generator = np.random.default_rng(seed)
    size = rows.shape[1]
    parts = [min(100, resamples - start) for start in range(0, resamples, 100)]
    drawn = [value for part in parts for value in statistics(rows, generator.integers(size, size=(part, size)))]
    return Interval(float(statistics(rows, np.arange(size)[None])[0]), *ends(drawn, level), level)


def ends(drawn: Sequence[float], level: float) -> tuple[float, float]:
    """Percentiles of what resamples gave, undefined ones left out; NaN without any."""
    known = np.asarray(drawn)[np.isfinite(drawn)] if len(drawn) else np.empty(0)
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
