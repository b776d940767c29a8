"""Whether what a controller keeps of an architecture says anything of its structure.

Paper: Understanding Neural Architecture Search Techniques (2019, https://arxiv.org/abs/1904.00438), section 4: hidden states of ENAS's controller
do not follow graph similarity. We differ: fields that differ are counted in the place of graph edit distances, and a permutation test
says what chance gives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BadParameter, TooFewSets
from .correlation import rho


@dataclass(frozen=True)
class Structure:
    """Correlation of two distances between architectures.

    Args:
        correlation: Spearman's rho over pairs; 0 where nothing of the structure is kept.
        p_value: share of permutations of architectures with as high a correlation.
    """

    correlation: float
    p_value: float


def structure_correlation(states: np.ndarray, archs: Sequence[Mapping[str, Any]], *, permutations: int = 199, seed: int = 0) -> Structure:
    """Spearman's rho between distances of states and numbers of fields that differ, over all pairs, with a Mantel permutation test.

    Args:
        states: array (architectures, features): hidden states, embeddings, encodings.
        archs: field -> value, in the same order.
        permutations: of architectures.
        seed: of a private generator.

    Raises:
        TooFewSets: fewer than four architectures.
        BadParameter: numbers or fields differ, or all distances of one kind are equal.

    >>> import numpy
    >>> archs = [{"a": i, "b": j} for i in range(3) for j in range(3)]
    >>> states = numpy.array([[float(i == k) for k in range(3)] + [float(j == k) for k in range(3)] for i in range(3) for j in range(3)])
    >>> structure_correlation(states, archs)
    Structure(correlation=1.0, p_value=0.005)
    """
    points = np.asarray(states, dtype=np.float64)
    if points.ndim != 2 or len(points) != len(archs) or len({tuple(sorted(arch)) for arch in archs}) > 1:
        raise BadParameter(f"a row of features for each architecture, all with the same fields; found shape {points.shape} for {len(archs)}.")
    if len(archs) < 4:
        raise TooFewSets(f"at least 4 architectures are needed, found {len(archs)}.")
    near = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1)).round(12)
    differ = np.array([[sum(one[field] != other[field] for field in one) for other in archs] for one in archs], dtype=np.float64)
    upper = np.triu_indices(len(archs), 1)
    found = rho(np.stack([near[upper], differ[upper]]))
    if not np.isfinite(found):
        raise BadParameter("all distances are equal, between states or between architectures, so there is nothing to correlate.")
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(archs)) for _ in range(permutations)]
    higher = sum(rho(np.stack([near[np.ix_(order, order)][upper], differ[upper]])) >= found - 1e-12 for order in orders)
    return Structure(round(found, 12), (1 + higher) / (1 + permutations))
