"""Balanced by resource: the fields' odds are moved so that what a subnet asks for passes evenly through its whole range.

Paper: One QuantLLM for ALL: Fine-tuning Quantized LLMs Once for Efficient Deployments (2024, https://arxiv.org/abs/2405.20202), the
resource-balanced schedule.

Drawn field by field, the mean width in bits of many layers is close to normal, with a spread that shrinks with the number of layers, so that the smallest
and largest subnets are never trained. The schedule is without parameters to learn: it mixes such normal distributions whose mean moves.
We differ: the mean is moved by odds that grow exponentially along a field's options, the ones of largest entropy for that mean, for any ordered field.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import BadParameter
from ..elastic import Elastic, Values
from ..sampler import Sampler


class Balanced(Sampler):
    """In stage k of a round, every field is drawn with p(option) ~ exp(slope_k * place), place from 0 (first option) to 1 (last).

    slope_k is the one at which the mean place is (k + 1/2) / stages, so that the mean moves through its range, up and then down.

    Args:
        stages: of one way through the range.
        steps: subnets drawn in each stage.

    Raises:
        BadParameter: fewer than two stages, or no step.

    >>> import torch
    >>> from loomweight.supernet import elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> sampler, random = Balanced(stages=5, steps=1), np.random.default_rng(0)
    >>> [(round(sampler.mean, 1), sampler.draw(net, random, 0.0)["width 0"]) for _ in range(5)]
    [(0.1, 2), (0.3, 2), (0.5, 2), (0.7, 2), (0.9, 8)]
    """

    def __init__(self, stages: int = 8, steps: int = 16) -> None:
        if stages < 2 or steps < 1:
            raise BadParameter(f"a way through the range has at least 2 stages of at least 1 step, found stages={stages}, steps={steps}.")
        self.stages, self.steps, self.drawn = stages, steps, 0

    @property
    def mean(self) -> float:
        """The mean place of the stage that comes next."""
        stage = self.drawn // self.steps % (2 * self.stages)
        return (min(stage, 2 * self.stages - 1 - stage) + 0.5) / self.stages

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        values = {}
        for name, dimension in net.space.dimensions.items():
            options = dimension.options  # type: ignore[attr-defined]
            values[name] = options[int(random.choice(len(options), p=odds(len(options), self.mean)))]
        self.drawn += 1
        return net.space.canonical(values)

    def state_dict(self) -> dict[str, Any]:
        """How many were drawn."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Sampler`."""
        if set(state) != {"drawn"}:
            raise BadParameter(f"this is no state of Balanced: it holds {', '.join(map(repr, state)) or 'nothing'} instead of 'drawn'.")
        self.drawn = int(state["drawn"])

    def __repr__(self) -> str:
        return f"Balanced(stages={self.stages}, steps={self.steps})"


@lru_cache(maxsize=256)
def odds(count: int, mean: float) -> np.ndarray:
    """Probabilities of `count` options at even places from 0 to 1 that grow exponentially and have this mean place.

    >>> odds(3, 0.5).round(3).tolist(), odds(2, 0.9).round(3).tolist()
    ([0.333, 0.333, 0.333], [0.1, 0.9])
    """
    if count == 1:
        return np.ones(1)
    places = np.linspace(0.0, 1.0, count)
    low, high = -200.0, 200.0
    for _ in range(60):
        slope = (low + high) / 2
        weights = np.exp(slope * places - max(slope, 0.0))
        low, high = (slope, high) if weights @ places / weights.sum() < mean else (low, slope)
    return weights / weights.sum()
