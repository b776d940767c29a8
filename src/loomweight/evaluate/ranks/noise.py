"""What the seed of training alone does to a ranking: no method can be asked for more agreement than seeds have.

Paper: NAS evaluation is frustratingly hard (2019, https://arxiv.org/abs/1912.12522), section 4.4: seeds matter for the order of architectures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import NonFinite, TooFewSets
from .correlation import Interval, Numbers, ends, tau


@dataclass(frozen=True)
class SeedNoise:
    """How far trainings of the same architecture differ.

    Args:
        spread: standard deviation of one training, pooled over architectures.
        ceiling: Kendall's tau between two trainings of all: the most that a ranking of one training can be asked for.
        architectures: those with two trainings or more.
    """

    spread: float
    ceiling: Interval
    architectures: int


def seed_noise(trainings: Sequence[Numbers] | np.ndarray, *, resamples: int = 200, level: float = 0.95, seed: int = 0) -> SeedNoise:
    """Spread and ceiling from accuracies of repeated trainings.

    spread^2 = sum of squared deviations from each architecture's mean / sum of (trainings - 1). For the ceiling two different trainings of
    every architecture are drawn, again and again.

    Args:
        trainings: for each architecture, accuracies by seed; two or more, else it is left out (a table of isomorphic cells is of that form).
        resamples: draws of two trainings; the interval resamples architectures too.
        level, seed: as for `kendall`.

    Raises:
        TooFewSets: fewer than three architectures have two trainings.
        NonFinite: an accuracy is NaN or infinite.

    >>> found = seed_noise([[90.0, 90.2], [91.0, 91.2], [92.0, 92.2], [93.0]])
    >>> round(found.spread, 4), found.ceiling.value, found.architectures
    (0.1414, 1.0, 3)
    """
    groups = [np.asarray(group, dtype=np.float64) for group in trainings if len(group) > 1]
    if len(groups) < 3:
        raise TooFewSets(f"noise between seeds needs at least 3 architectures with 2 trainings, found {len(groups)}.")
    if bad := [number for number, group in enumerate(groups) if not np.isfinite(group).all()]:
        raise NonFinite(f"architecture {bad[0]} (of those with several trainings) has an accuracy that is not finite; leave that training out.")
    spread = np.sqrt(sum(((group - group.mean()) ** 2).sum() for group in groups) / sum(len(group) - 1 for group in groups))
    generator = np.random.default_rng(seed)
    pairs = [_two(groups, generator) for _ in range(max(resamples, 1))]
    drawn = [tau(pair[:, generator.integers(len(groups), size=len(groups))]) for pair in pairs]
    return SeedNoise(float(spread), Interval(float(np.mean([tau(pair) for pair in pairs])), *ends(drawn, level), level), len(groups))


def _two(groups: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Two different trainings of every architecture."""
    sizes = np.array([len(group) for group in groups])
    starts = np.cumsum(sizes) - sizes
    first, second = generator.integers(sizes), generator.integers(sizes - 1)
    every = np.concatenate(groups)
    return np.stack([every[starts + first], every[starts + second + (second >= first)]])
