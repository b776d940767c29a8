"""Adam at the server.

Paper: Adaptive Federated Optimization (2020, https://arxiv.org/abs/2003.00295), algorithm 2.

torch's Adam is another method: it corrects m and v for their start at 0.
"""

from functools import partial

from .adaptive import Adaptive
from .pool import Pool
from .server_optimizer import ServerOptimizer


def fed_adam(rate: float = 0.1, betas: tuple[float, float] = (0.9, 0.99), tau: float = 1e-3, pooled: Pool | None = None) -> ServerOptimizer:
    """m <- b1 m + (1 - b1) D; v <- b2 v + (1 - b2) D^2; w <- w + rate m / (sqrt(v) + tau), for the pooled update D.

    v starts at tau^2 and nothing is corrected for that, see `Adaptive`.

    Args:
        rate: the server's learning rate; the paper searches it for each task, from 0.001 to 10.
        betas: of m and v.
        tau: how little it adapts.
        pooled: how updates become one; the mean by default.

    >>> fed_adam(rate=0.01).sums
    True
    """
    return ServerOptimizer(partial(Adaptive, lr=rate, betas=betas, tau=tau, kind="adam"), pooled or Pool())
