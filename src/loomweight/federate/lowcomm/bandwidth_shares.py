"""Who reduces how much of a vector, so that the slowest connection is done as early as can be.

Paper: Distributed Deep Learning in Open Collaborations (2021, https://arxiv.org/abs/2106.10207), section 3.2, the linear program of adaptive averaging.

Code read: learning-at-home/hivemind at commit 4bd43b7, averaging/load_balancing.py, which knows one bandwidth of a peer. We differ: up and down are two
numbers, as in the paper; but limits of single pairs of peers, and who computes gradients at all, are not variables here. Among shares that are equally fast,
the most even ones are taken, so that equal peers have equal shares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from ...errors import BadParameter


@dataclass(frozen=True)
class Shares:
    """Shares of a vector that sum to 1, and the time to average one entry's worth of it in units of 1 / bandwidth.

    Part of: bandwidth_shares.
    """

    shares: tuple[float, ...]
    time: float

    def sizes(self, entries: int) -> list[int]:
        """Whole numbers of entries in these shares: rounded down, and the rest to the largest remainders.

        >>> Shares((0.5, 0.25, 0.25), 1.0).sizes(7)
        [3, 2, 2]
        """
        exact = [share * entries for share in self.shares]
        sizes = [floor(one) for one in exact]
        order = sorted(range(len(sizes)), key=lambda i: (sizes[i] - exact[i], i))
        for i in order[: entries - sum(sizes)]:
            sizes[i] += 1
        return sizes


def bandwidth_shares(
    upload: Sequence[float], download: Sequence[float], contributes: Sequence[bool] | None = None, serves: Sequence[bool] | None = None
) -> Shares:
    """Shares x_i that minimise max_i max(up_i / u_i, down_i / d_i).

    A peer that contributes sends each other part to its reducer and gets it back, and reduces its own part for m - 1 others:
    up_i = down_i = 1 - x_i + (m - 1) x_i. One that does not reduces for all m: up_i = down_i = m x_i. Equal peers: the usual all-reduce, 1 / n each. One strong
    peer that does not contribute: a parameter server.

    Args:
        upload: u_i, in any unit.
        download: d_i, in the same.
        contributes: has an own vector that is averaged, and gets the result; None is all.
        serves: may reduce for others; a peer behind a firewall may not; None is all.

    Raises:
        BadParameter: bandwidths are not positive, the lists differ in length, or nobody contributes or serves.

    >>> bandwidth_shares([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]).shares
    (0.3333333333333333, 0.3333333333333333, 0.3333333333333333)
    >>> bandwidth_shares([1.0, 1.0, 1.0, 90.0], [1.0, 1.0, 1.0, 90.0], contributes=[True, True, True, False]).shares
    (0.0, 0.0, 0.0, 1.0)
    """
    n = len(upload)
    contributes = [True] * n if contributes is None else list(contributes)
    serves = [True] * n if serves is None else list(serves)
    if not n == len(download) == len(contributes) == len(serves) or not any(contributes) or not any(serves):
        raise BadParameter(f"upload, download, contributes and serves have one entry a peer, and somebody contributes and serves; found {n} uploads.")
    bandwidth = np.minimum(np.asarray(upload, dtype=float), np.asarray(download, dtype=float))
    if not (np.isfinite(bandwidth).all() and (bandwidth > 0).all()):
        raise BadParameter(f"bandwidths are positive numbers, found upload={list(upload)}, download={list(download)}.")
    own, m = np.array(contributes, dtype=float), sum(contributes)
    slope = np.where(own > 0, m - 2, m)
    fastest = _solved(np.diag(slope / bandwidth), own / bandwidth, serves)
    time = fastest[-1]
    even = _solved(np.eye(n), np.zeros(n), serves, upper=(time * (1 + 1e-9) * bandwidth - own, slope))
    shares = np.round(np.clip(even[:-1], 0, None), 6)  # the solver is no more exact
    return Shares(tuple(float(share) for share in shares / shares.sum()), float(time))


def _solved(slopes: np.ndarray, offsets: np.ndarray, serves: Sequence[bool], upper: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """Minimise t with slopes x + offsets <= t, sum x = 1, x >= 0, and upper[1] x <= upper[0] entry by entry: x and t."""
    from scipy.optimize import linprog

    n = len(offsets)
    rows, bounds = [np.hstack([slopes, -np.ones((n, 1))])], [-offsets]
    if upper is not None:
        rows.append(np.hstack([np.diag(upper[1]), np.zeros((n, 1))]))
        bounds.append(upper[0])
    ranges = [(0.0, 1.0 if may else 0.0) for may in serves] + [(None, None)]
    goal = np.append(np.zeros(n), 1.0)
    equal = np.append(np.ones(n), 0.0)[None, :]
    found = linprog(goal, np.concatenate(rows), np.concatenate(bounds), equal, [1.0], ranges, method="highs")
    assert found.success, found.message  # x = 1 on one who serves is a solution
    return found.x
