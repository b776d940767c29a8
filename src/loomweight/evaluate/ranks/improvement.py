"""What a search gained over the average of its search space.

Paper: NAS evaluation is frustratingly hard (2019, https://arxiv.org/abs/1912.12522), equation 1.
Original code: https://github.com/antoyang/NAS-Benchmark. We differ: an interval comes with it.
"""

import numpy as np

from ...errors import BadParameter, NonFinite, TooFewSets
from .correlation import Interval, Numbers, ends


def relative_improvement(found: Numbers, random: Numbers, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """100 (mean of found - mean of random) / mean of random, in per cent, with a bootstrap interval.

    It takes away what the search space and the training protocol give to every architecture: 0 is what drawing one at random gives.

    Args:
        found: accuracies of the architectures that a search found, one a seed.
        random: accuracies of architectures drawn at random from the same space, trained in the same way.
        resamples, level, seed: as for `kendall`; both sides are drawn again.

    Raises:
        TooFewSets: there is none on one side, or but one where an interval is asked for.
        NonFinite: an accuracy is NaN or infinite.
        BadParameter: the average of random architectures is not above 0.

    >>> relative_improvement([96.0, 97.0], [95.0, 95.0], resamples=0).value
    1.5789473684210527
    """
    one, other = np.asarray(found, dtype=np.float64), np.asarray(random, dtype=np.float64)
    if min(one.size, other.size) < (2 if resamples else 1):
        raise TooFewSets(f"at least {2 if resamples else 1} accuracies of each are needed, found {one.size} and {other.size}.")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise NonFinite("an accuracy is NaN or infinite; a run that failed counts as what it reached, such as chance.")
    if not other.mean() > 0:
        raise BadParameter(f"the average of random architectures is {other.mean()}; a relative improvement needs one above 0.")
    generator = np.random.default_rng(seed)
    drawn = [_relative(generator.choice(one, one.size), generator.choice(other, other.size)) for _ in range(resamples)]
    return Interval(_relative(one, other), *ends(drawn, level), level)


def _relative(found: np.ndarray, random: np.ndarray) -> float:
    return float(100 * (found.mean() - random.mean()) / random.mean())
