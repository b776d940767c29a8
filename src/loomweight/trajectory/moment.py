"""An average at a moment of the run, as what it is made of: which samples have which share in it."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParameter
from ..rules import RunningAverage


@dataclass(frozen=True)
class Moment:
    """What an average of this profile held when the run had seen so many samples.

    Args:
        profile: how much of the average each new point is.
        samples: of the run, until then.

    Raises:
        BadParameter: samples is not positive; the profile begins at the start weights, which are no point of the run.

    >>> Moment(lw.rules.RunningMean(), 1_000).samples
    1000
    """

    profile: RunningAverage
    samples: float

    def __post_init__(self) -> None:
        if not (isfinite(self.samples) and self.samples > 0):
            raise BadParameter(f"a moment of the run lies after a positive number of samples, found {self.samples}.")
        if getattr(self.profile, "from_start", False):
            raise BadParameter(f"{self.profile} holds the start weights, which no snapshot remembers; leave from_start out.")


def shares(profile: RunningAverage, edges: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Which share of the average, read at the last edge, the samples between two edges have: r_k prod_{j > k} (1 - r_j), in float64.

    These are the weights of `Mean` for points that stand for so many samples each.

    Args:
        edges: rising numbers of samples, from 0 on.

    >>> shares(lw.trajectory.Exponential(half_life=1), [0, 1, 2]) * 3
    array([1., 2.])
    """
    return left(rates(profile, np.asarray(edges, dtype=np.float64)))


def rates(profile: RunningAverage, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the samples between two edges in the average, read at the second of the two.

    >>> rates(lw.rules.RunningMean(), np.array([0.0, 1.0, 4.0]))
    array([1.  , 0.75])
    """
    return np.array([profile.rate(lo, hi - lo) for lo, hi in itertools.pairwise(edges.tolist())])


def left(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of each share after those that come later.

    >>> left(np.array([1.0, 0.75]))
    array([0.25, 0.75])
    """
    return rates * np.append(np.cumprod(1 - rates[:0:-1])[::-1], 1.0)
