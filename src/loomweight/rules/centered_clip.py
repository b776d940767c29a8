"""Centered clipping: steps towards the sets, each set's pull cut to a radius.

Paper: Learning from History for Byzantine Robust Optimization (2020, https://arxiv.org/abs/2012.10333), algorithm 2.
Original code: https://github.com/epfml/byzantine-robust-optimizer at 288417f.
We differ: the radius may be left to the rule, and the start may be the most central set instead of a given point.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float64
from .geometry import Vector, centred_on, core, distances_to, refuse_negative, shares, squared_distances
from .rule import Weighing

Start = Literal["zero", "core"]


@dataclass(frozen=True)
class CenteredClip(Weighing):
    """Steps towards the sets, each set's pull cut to a radius.

    v <- v + sum_i a_i (w_i - v) min(1, tau / |w_i - v|), a few times.

    The paper starts at the aggregate of the round before. That is `Around(before, CenteredClip(tau))`: differences from it,
    and a start of zero. Whole checkpoints without such a point want start="core".

    Bound: a set of weight a_i moves v by at most a_i tau a step, wherever it lies: f of n sets by f tau / n. With tau=None the
    radius, and so the result, stays bounded while bad sets hold less than half of the weight.

    Args:
        tau: the radius, in the units of the sets' norm; None is, in each step, the distance within which half of the weight lies.
        iterations: how many steps; the paper finds one enough where the start is good.
        start: "zero", or "core": the set nearest to more than half of the weight (the mean of those equally near).
        weights: a_i before they are divided by their sum, none negative; None is 1 for each.

    Raises:
        BadParameter: tau or iterations not positive, weights that are negative or all 0.

    >>> from loomweight.rules import combine
    >>> sets = [{"w": torch.tensor([x])} for x in (1.0, 2.0, 3.0, 1e6)]
    >>> combine(sets, CenteredClip(tau=4.0))["w"]  # (1 + 2 + 3 + 4) / 4
    tensor([2.5000])
    """

    tau: float | None = None
    iterations: int = 1
    start: Start = "zero"
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if (self.tau is not None and not self.tau > 0) or self.iterations < 1:
            raise BadParameter(f"{self}: tau must be positive and iterations at least 1.")
        if self.start not in get_args(Start):
            raise BadParameter(f"{self}: start must be one of {', '.join(get_args(Start))}.")

    def check(self, n: int) -> None:
        """Raise for weights that cannot be."""
        super().check(n)
        refuse_negative(self, self.weights)

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """What the steps add up to; with start="zero" the rest to 1 is the share of the start."""
        n = len(gram)
        weight = np.append(shares(self.weights, n), 0)  # the last place is the origin
        central, _ = core(squared_distances(gram.numpy()), weight[:n])
        centred = centred_on(np.pad(gram.numpy(), (0, 1)), int(central.argmax()))
        point = np.append(central, 0.0) if self.start == "core" else np.append(np.zeros(n), 1.0)
        for _ in range(self.iterations):
            away = distances_to(centred, point)
            radius = _half(away, weight) if self.tau is None else self.tau
            pull = weight * np.where(away > radius, radius / np.where(away > 0, away, 1), 1)
            point = (1 - pull.sum()) * point + pull
        return torch.from_numpy(point[:n])


def _half(away: Vector, weight: Vector) -> float:
    """The distance within which half of the weight lies."""
    order = np.argsort(away, kind="stable")
    return float(away[order][np.searchsorted(np.cumsum(weight[order]), 0.5 * (1 - 1e-12))])
