"""How far one client can move what is released.

Papers: Multi-Epoch Matrix Factorization Mechanisms for Private Machine Learning (2022, https://arxiv.org/abs/2211.06530), theorem 2.1 and equation 5;
(Amplified) Banded Matrix Factorization: A unified approach to private training (2023, https://arxiv.org/abs/2306.08153), theorem 2.
jax_privacy was read at 8967688c. Its statement that the bound by rows is exact for banded matrices fails for small ones (three rounds, two
bands, 0.7 beside the diagonal), so the smaller of two bounds is taken here.
"""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from .participation import Participation


def sensitivity(strategy: NDArray[np.floating], participation: Participation) -> float:
    """max ||C (x - x')||_F over streams that differ in one client, whose vectors have norm 1 each.

    Exact where columns of rounds that a client may both take part in are orthogonal, where it takes part once, and for exact distances where the
    products of such columns are not negative. Else an upper bound, which is as private as it says and may waste something.

    Args:
        strategy: C.
        participation: what one client may do.

    >>> sensitivity(np.eye(6), Participation(rounds=6, apart=2))  # three times: the square root of 3
    1.7320508075688772
    """
    gram = np.abs(strategy.T @ strategy)
    if participation.exact:
        b = participation.apart
        return sqrt(max(float(gram[i::b, i::b].sum()) for i in range(b)))
    distance = np.abs(np.subtract.outer(np.arange(len(gram)), np.arange(len(gram))))
    together = participation.largest(np.diag(gram)) + float(gram[distance >= participation.apart].sum())
    by_rows = participation.largest(np.array([participation.largest(row) for row in gram]))
    return sqrt(min(together, by_rows))
