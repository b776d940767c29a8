"""Stratified by cost: small, middle and large subnets are trained alike.

Paper: ShiftNAS: Improving One-shot NAS via Probability Shift (2023, https://arxiv.org/abs/2307.08300), for what is wrong with drawing fields by
themselves: cost is a sum over many fields, so that subnets of middle cost are trained almost always.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..elastic import Elastic, Values
from ..sampler import Sampler
from .levels import Levels, Measure


class Stratified(Sampler):
    """The range of costs is split into equal levels; every round draws one subnet from each, in random order.

    Levels that hold no subnet are left out.

    Args:
        levels: how many.
        cost: "params", "flops", "nbytes", "latency_ms", or a function (net, values) -> number. The first and third count; the others run each new subnet.

    Raises:
        BadParameter: fewer than two levels, or an unknown cost.

    >>> import torch
    >>> from loomweight.supernet import elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> sampler, random = Stratified(levels=2, cost="params"), np.random.default_rng(0)
    >>> sum(sampler.draw(net, random, 0.0)["width 0"] == 8 for _ in range(10))
    5
    """

    def __init__(self, levels: int = 8, cost: Measure = "flops") -> None:
        self.levels = Levels(levels, cost)
        self.left: list[int] = []

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        if not self.left:
            self.left = random.permutation(self.levels.filled(net)).tolist()
        return self.levels.draw(net, self.left.pop(), random)

    def state_dict(self) -> dict[str, Any]:
        """Levels still to come, and how to draw from each."""
        return {"left": list(self.left), **self.levels.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Sampler`."""
        self.levels.load_state_dict(state)
        self.left = list(state["left"])

    def __repr__(self) -> str:
        return f"Stratified(levels={self.levels.count}, cost={self.levels.measure!r})"
