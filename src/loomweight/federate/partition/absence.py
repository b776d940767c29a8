"""How often clients are away, by what they have.

Paper: A Lightweight Method for Tackling Unknown Participation Statistics in Federated Averaging (2023, https://arxiv.org/abs/2306.03401), section 6:
client n takes part with probability  mean * C * <k_n, q>,  where k_n is its mixture of the C classes and q ~ Dir(alpha), so that whole classes
are rarely seen; no probability is below `least`. Code read: IBM/fedau at 6e9cce9, util/util.py. We differ: probabilities end at 1.
"""

import numpy as np
from torch import Tensor

from ...errors import BadParameter
from .counts import counts
from .partition import Parts


def absence(parts: Parts, labels: Tensor, seed: int = 0, alpha: float = 0.1, mean: float = 0.1, least: float = 0.02) -> dict[str, float]:
    """The probability that each client is away in a round: what `Speeds(absent=...)` takes.

    Args:
        parts: what a partition gives.
        labels: of the data that was divided.
        seed: of q, 0 or more.
        alpha: of the Dirichlet distribution of q; small for few classes that are often seen.
        mean: how often a client takes part on average, where all classes are as frequent.
        least: how often every client takes part at least.

    Raises:
        BadParameter: a number is out of range, or the labels are not one whole number for each sample.

    >>> from loomweight.federate.partition import Shards
    >>> labels = torch.arange(4).repeat(6)
    >>> {name: round(away, 3) for name, away in absence(Shards(1)(labels, clients=4, seed=0), labels, seed=1).items()}
    {'client 0': 0.98, 'client 1': 0.707, 'client 2': 0.98, 'client 3': 0.894}
    """
    if not (1e-6 <= alpha <= 1e9 and 0 < mean <= 1 and 0 <= least <= 1 and seed >= 0):
        raise BadParameter(f"alpha lies between 1e-6 and 1e9, mean and least between 0 and 1, and a seed is 0 or more; found {alpha}, {mean}, {least}, {seed}.")
    found = counts(parts, labels)
    classes = len(found.classes)
    often = np.random.default_rng((seed, classes)).dirichlet(np.full(classes, alpha))
    there = np.clip(mean * classes * found.shares @ often, least, 1.0)
    return dict(zip(found.clients, (1.0 - there).tolist(), strict=True))
