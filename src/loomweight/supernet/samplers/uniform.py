"""Uniform: every option of every field as likely as the others.

Paper: Single Path One-Shot Neural Architecture Search with Uniform Sampling (2019, https://arxiv.org/abs/1904.00420).
"""

import numpy as np

from ..elastic import Elastic, Values
from ..sampler import Sampler


class Uniform(Sampler):
    """Draw every field by itself, its options alike: values ~ U(options of field 1) x U(options of field 2) x ...

    >>> import torch
    >>> from loomweight.supernet import elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> Uniform().draw(net, np.random.default_rng(0), 0.0)
    {'width 0': 8}
    """

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        return net.sample(random)

    def __repr__(self) -> str:
        return "Uniform()"
