"""Any average of a run out of snapshots of others, after the run: which multiple of each comes closest.

Paper: Analyzing and Improving the Training Dynamics of Diffusion Models (2023, https://arxiv.org/abs/2312.02696), section 3.2 and
appendix C.5, equations 134 and 141 to 143, algorithm 3. Original code: NVlabs/edm2 at commit 4bf8162, training/phema.py.
We differ: the coefficients add up to 1 by a constraint of the least squares. The paper leaves the sum free, and the code divides by it
afterwards; so ours is the closest of all averages. How close is told, and what that means for the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ..errors import TooFewSets
from .inner import inner_products
from .moment import Moment

_SAME = 1e-14


@dataclass(frozen=True)
class Synthesis:
    """How an average is put together from snapshots, and how well.

    Part of: post_hoc_ema.

    Args:
        wanted: the average that is put together.
        weights: the coefficient of each snapshot; they add up to 1, and some may be negative.
        error: distance of the density that comes out from the wanted one, over the norm of the wanted one (both in L2 over the run).
        worst: no entry of the weights differs from the average kept during training by more than this many standard deviations of that
            entry over the run (root mean square over all samples); by Cauchy and Schwarz, for every run. Most differ by far less.
        growth: root of the sum of squares of the coefficients: by how much independent rounding errors of the snapshots grow.

    >>> kept = [Moment(lw.trajectory.Power(gamma), 100) for gamma in (2, 4)]
    >>> reconstruct(kept, Moment(lw.trajectory.Power(4), 100))
    Synthesis(wanted=Moment(profile=Power(gamma=4.0), samples=100), error=0.0, worst=0.0, growth=1.0)
    """

    wanted: Moment
    weights: tuple[float, ...] = field(repr=False)
    error: float
    worst: float
    growth: float


def reconstruct(snapshots: Sequence[Moment], wanted: Moment) -> Synthesis:
    """The coefficients c, with sum 1, that bring sum_i c_i p_i closest to the wanted density p, in L2: least squares in float64.

    A snapshot that is the wanted average, to 1e-7 of its norm, is taken alone.

    Part of: post_hoc_ema.

    Args:
        snapshots: what is there.
        wanted: any profile at any time of the run.

    Raises:
        TooFewSets: there is no snapshot.
        BadParameter: see `inner_products`.

    >>> power = lw.trajectory.Power.of_length
    >>> kept = [Moment(power(length), samples) for samples in range(100, 1001, 100) for length in (0.05, 0.10)]
    >>> found = reconstruct(kept, Moment(power(0.07), 1000))
    >>> round(found.error, 4), round(sum(found.weights), 12)
    (0.0091, 1.0)
    """
    if not snapshots:
        raise TooFewSets("there is no snapshot to put an average together from.")
    products = inner_products([*snapshots, wanted])
    norms = np.sqrt(np.diag(products))
    cosines = products / np.outer(norms, norms)
    lengths = norms[:-1] / norms[-1]
    shares = _alone(cosines, lengths)
    if shares is None:
        shares = _least_squares(cosines, lengths)
    distance = sqrt(_square(cosines, shares))
    latest = max(moment.samples for moment in (*snapshots, wanted))
    weights = shares / lengths
    return Synthesis(wanted, tuple(weights.tolist()), distance, distance * float(norms[-1]) * sqrt(latest), float(np.linalg.norm(weights)))


def _alone(cosines: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The snapshot that is the wanted one, if there is one."""
    squares = lengths**2 - 2 * lengths * cosines[:-1, -1] + 1
    nearest = int(np.argmin(squares))
    return np.where(np.arange(len(lengths)) == nearest, lengths, 0.0) if squares[nearest] < _SAME else None


def _least_squares(cosines: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stationary point of the distance with a multiplier for the sum: minimal in norm where snapshots coincide."""
    system = np.zeros_like(cosines)
    system[:-1, :-1], system[-1, :-1], system[:-1, -1] = cosines[:-1, :-1], 1 / lengths, 1 / lengths
    shares = np.linalg.lstsq(system, np.append(cosines[:-1, -1], 1.0), rcond=None)[0][:-1]
    return shares / (shares / lengths).sum()


def _square(cosines: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    both = np.append(shares, -1.0)
    return max(float(both @ cosines @ both), 0.0)
