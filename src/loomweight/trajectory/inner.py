"""Inner products of averages along a run: the integral over time of the product of their densities.

Paper: Analyzing and Improving the Training Dynamics of Diffusion Models (2023, https://arxiv.org/abs/2312.02696), appendix C.5,
equations 144, 150 and 151. We differ: what is no power profile is integrated on cells, where they name Monte Carlo.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParameter
from ..rules import RunningAverage, RunningMean
from .moment import Moment, left, rates
from .power import Power

_GROWTH = 1.002
_EARLIEST = 1e-4
_LATEST = 1e-6


def inner_products(moments: Sequence[Moment]) -> NDArray[np.float64]:
    """The Gram matrix of averages, each the density p(tau) of its samples: G_ij = integral of p_i p_j, in 1 / samples.

    Among `Power` profiles (and `RunningMean`, of which gamma is 0) in closed form, for tau^a / s^(a + 1) (a + 1) read at s and its
    like with b read at t, and m = min(s, t):

        (a + 1) (b + 1) / (a + b + 1) m^(a + b + 1) / (s^(a + 1) t^(b + 1)).

    Where any profile is of another kind, all densities are taken as constant on some ten thousand cells, finer towards the start and
    towards the latest moment.

    Raises:
        BadParameter: a gamma of -1/2 or less, whose density has no square integral.

    >>> float(inner_products([Moment(lw.rules.RunningMean(), 4.0)])[0, 0])  # of the density 1/4 on 4 samples
    0.25
    """
    gammas = [_gamma(moment.profile) for moment in moments]
    known = [gamma for gamma in gammas if gamma is not None]
    if low := [gamma for gamma in known if gamma <= -0.5]:
        raise BadParameter(f"the profile of gamma = {low[0]:g} has no square integral, so it has no distance from others; gamma must be above -1/2.")
    if len(known) == len(moments):
        return _closed(np.array(known, dtype=np.float64), np.array([moment.samples for moment in moments], dtype=np.float64))
    return _on_cells(moments)


def _gamma(profile: RunningAverage) -> float | None:
    return 0.0 if isinstance(profile, RunningMean) else getattr(profile, "gamma", None) if isinstance(profile, Power) else None


def _closed(gammas: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    one, other, logs = gammas[:, None], gammas[None, :], np.log(times)
    earlier = np.minimum(logs[:, None], logs[None, :])
    exponents = (one + other + 1) * earlier - (one + 1) * logs[:, None] - (other + 1) * logs[None, :]
    return (one + 1) * (other + 1) / (one + other + 1) * np.exp(exponents)


def _on_cells(moments: Sequence[Moment]) -> NDArray[np.float64]:
    edges = _edges(np.array([moment.samples for moment in moments], dtype=np.float64))
    rows = np.zeros((len(moments), len(edges) - 1))
    profiles = {repr(moment.profile): moment.profile for moment in moments}
    known = {words: rates(profile, edges) for words, profile in profiles.items()}
    for row, moment in zip(rows, moments, strict=True):
        until = int(np.searchsorted(edges, moment.samples))
        row[:until] = left(known[repr(moment.profile)][:until])
    rows /= np.sqrt(np.diff(edges))
    return rows @ rows.T


def _edges(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """0, then from a small share of the run on by steady growth; and backwards from the end in the same manner."""
    end = times.max()
    rising = end * np.exp(np.arange(np.log(_EARLIEST), 0, np.log(_GROWTH)))
    falling = end * (1 - np.exp(np.arange(np.log(_LATEST), 0, np.log(_GROWTH))))
    inside = np.concatenate([rising, falling])
    return np.unique(np.concatenate([[0.0], inside[(inside > 0) & (inside < end)], times]))
