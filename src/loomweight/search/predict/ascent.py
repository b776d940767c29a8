"""Steps on the input of a function that use its curvature, and the way back to a valid configuration."""

from collections.abc import Callable
from math import ceil, exp, floor, log
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..dimension import Dimension, Float, Int
from ..space import Space, Values
from .predictor import Array


def ascend(function: Callable[[Tensor], Tensor], starts: Tensor, generator: torch.Generator, steps: int = 30, rate: float = 0.1) -> Tensor:
    """Maximise a function over [0, 1]^d from several starts at once.

    Paper: ADAHESSIAN: An Adaptive Second Order Optimizer for Machine Learning (2021, https://arxiv.org/abs/2006.00719), algorithm 1: with g the
    gradient and h = |z * (H z)| for random signs z, m and v the running means of g and h^2 (0.9, 0.999, with their corrections), x moves by
    rate m / (sqrt(v) + eps). For a function without mixed derivatives h is the curvature itself, so a rate of 1 is Newton's step. No entry
    moves further than 0.2 in a step, as far as a flat place goes.

    Part of: boshnas.

    Args:
        function: (n, d) -> (n,), with two derivatives; each row's value depends on that row alone.
        starts: (n, d), in [0, 1].
        generator: of the signs.
    """
    x = starts.clone()
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    for step in range(1, steps + 1):
        x.requires_grad_()
        (slope,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
        signs = torch.randint(0, 2, x.shape, generator=generator).to(x) * 2 - 1
        (bend,) = torch.autograd.grad((slope * signs).sum(), x)
        with torch.no_grad():
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * bend**2
            moved = rate * first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-4)
            x = (x + moved.clamp(-0.2, 0.2)).clamp(0, 1)
    return x.detach()


def nearest(space: Space, point: Array) -> Values:
    """The configuration whose code is nearest to a point; between codes of one field by Euclidean distance, the earlier of equals.

    Part of: boshnas.

    >>> from loomweight.search import Choice, Ordered
    >>> nearest(Space({"width": Ordered((16, 32, 64)), "op": Choice(("conv", "skip"))}), np.array([0.6, 0.4, 0.3]))
    {'width': 32, 'op': 'conv'}
    """
    values, at = {}, 0
    for name, dimension in space.dimensions.items():
        width = len(dimension.scaled(dimension.last))
        values[name] = _nearest(dimension, point[at : at + width])
        at += width
    return space.canonical(values)


def _nearest(dimension: Dimension, part: Array) -> Any:
    options = _around(dimension, float(np.clip(part[0], 0, 1))) if isinstance(dimension, Float | Int) else dimension.every()
    return min(options, key=lambda option: float(np.sum((np.array(dimension.scaled(option)) - part) ** 2)))


def _around(dimension: Float | Int, share: float) -> list[float] | list[int]:
    """The number at that share of the way from end to end, or the whole ones beside it."""
    low, high = (log(dimension.low), log(dimension.high)) if dimension.log else (dimension.low, dimension.high)
    value = low + share * (high - low)
    value = min(max(exp(value) if dimension.log else value, dimension.low), dimension.high)
    return [float(value)] if isinstance(dimension, Float) else [floor(value), ceil(value)]
