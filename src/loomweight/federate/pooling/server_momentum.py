"""Momentum at the server: FedAvgM.

Paper: Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification (2019, https://arxiv.org/abs/1909.06335).
"""

from functools import partial

import torch

from .pool import Pool
from .server_optimizer import ServerOptimizer


def server_momentum(rate: float = 1.0, momentum: float = 0.9, *, nesterov: bool = False, pooled: Pool | None = None) -> ServerOptimizer:
    """m <- momentum m + D; w <- w + rate m, for the pooled update D: torch's SGD.

    Args:
        rate: the server's learning rate.
        momentum: how much of m stays.
        nesterov: Nesterov's momentum instead.
        pooled: how updates become one; the mean by default.

    >>> server_momentum(momentum=0.5).sums
    True
    """
    return ServerOptimizer(partial(torch.optim.SGD, lr=rate, momentum=momentum, nesterov=nesterov), pooled or Pool())
