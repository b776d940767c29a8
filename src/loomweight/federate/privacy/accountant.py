"""The privacy that Gaussian releases have spent, by Opacus' Renyi accountant.

Papers: Renyi Differential Privacy of the Sampled Gaussian Mechanism (2019, https://arxiv.org/abs/1908.10530), section 3.3; Hypothesis Testing
Interpretations and Renyi Differential Privacy (2019, https://arxiv.org/abs/1905.09982), theorem 21. The arithmetic is Opacus' (1.6.0 was read);
orders are added at both ends, so that very large and very small epsilons are found too.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from math import inf, isfinite
from typing import Any

import numpy as np

from ...errors import BadParameter, MissingExtra

#: multiplier, rate, rounds: noise of so many times the sensitivity, on a sum that each client is in with probability `rate`
Release = Sequence[float]

SAMPLED = (*(1 + 2.0**-i for i in range(10, 3, -1)), *(1 + i / 10 for i in range(1, 100)), *range(12, 64), *(2**i for i in range(6, 11)))
#: where every client is asked an order costs nothing, so there are more
WHOLE = (*(1 + 2 ** (i / 8) for i in range(-80, 0)), *SAMPLED[7:], *(2.0**i for i in range(11, 31)))


def epsilon(releases: Sequence[Release], delta: float) -> float:
    """The epsilon of (epsilon, delta)-differential privacy after such releases, for adding or removing one client.

    Args:
        releases: (multiplier, rate, rounds) each. A rate below 1 holds where each client is in a round with that probability, by itself.
        delta: below 1 / (number of clients).

    Raises:
        BadParameter: a number out of its range.
        MissingExtra: Opacus is not installed.

    >>> round(epsilon([(1.0, 1.0, 10)], 1e-5), 2), round(epsilon([(1.0, 0.1, 10)], 1e-5), 2)
    (19.05, 3.44)
    """
    if not 0 < delta < 1 or any(not (z >= 0 and 0 <= q <= 1 and n >= 0) for z, q, n in releases):
        raise BadParameter(f"delta and rates are within 0 and 1, multipliers and rounds are not negative; found delta {delta:g}, releases {releases}.")
    run = [(z, q, n) for z, q, n in releases if q > 0 and n > 0]
    if any(z == 0 for z, _, _ in run):
        return inf
    if not run:
        return 0.0
    orders = SAMPLED if any(q < 1 for _, q, _ in run) else WHOLE
    total = np.sum([np.array(_renyi(z, q, orders)) * n for z, q, n in run], axis=0)
    with warnings.catch_warnings():
        # the best order may be the last: the bound holds all the same, and is a little wide
        warnings.filterwarnings("ignore", message="Optimal order is the")
        found, _ = _opacus().get_privacy_spent(orders=list(orders), rdp=list(total), delta=delta)
    return max(float(found), 0.0)


def multiplier_for(target: float, delta: float, rounds: int, rate: float = 1.0) -> float:
    """The least noise multiplier, to a thousandth, with which so many rounds cost at most `target`.

    Args:
        target: the epsilon.
        delta: below 1 / (number of clients).
        rounds: how many.
        rate: see `epsilon`.

    Raises:
        BadParameter: the target is not positive or not finite.

    >>> multiplier = multiplier_for(2.0, 1e-5, rounds=10)
    >>> 1.99 < epsilon([(multiplier, 1.0, 10)], 1e-5) <= 2.0
    True
    """
    if not (target > 0 and isfinite(target)):
        raise BadParameter(f"multiplier_for: epsilon is positive and finite, found {target}.")
    low, high = 0.0, 1.0
    while epsilon([(high, rate, rounds)], delta) > target:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon([(middle, rate, rounds)], delta) > target else (low, middle)
    return high


@lru_cache(maxsize=256)
def _renyi(multiplier: float, rate: float, orders: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(value) for value in _opacus().compute_rdp(q=rate, noise_multiplier=multiplier, steps=1, orders=list(orders)))


def _opacus() -> Any:
    try:
        from opacus.accountants.analysis import rdp
    except ImportError as error:
        raise MissingExtra("counting the privacy spent needs opacus; install it with: pip install 'loomweight[privacy]'") from error
    return rdp
