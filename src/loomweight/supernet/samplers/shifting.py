"""ShiftNAS: costs whose subnets still change are trained more, and a network gives subnets of the cost that is asked for.

Paper: ShiftNAS: Improving One-shot NAS via Probability Shift (2023, https://arxiv.org/abs/2307.08300).

The authors' repository has no code. We differ: the variation of a level is measured between a fast and a slow moving average of its losses;
the generator is trained on costs alone, with a fitted model of them, and not through the supernet's weights, which here are slices, not masks; of
several of its draws the nearest one is taken.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import BadParameter
from ..elastic import Elastic, Values
from ..sampler import Sampler
from .generator import CostGenerator
from .levels import Levels, Measure


class Shifting(Sampler):
    """p(level) = (1 - floor) * v / sum of v + floor / levels, v the level's performance variation |fast - slow|, by its trained subnets' losses.

    Until each level has been trained, all are as likely.

    Args:
        levels: parts of the range of costs.
        cost: "params", "flops", "nbytes", "latency_ms", or a function (net, values) -> number. The first and third count; the others run each new subnet.
        rate: of the fast moving average; the slow one has a fifth of it.
        floor: the share that is drawn uniformly whatever the variations are.
        tries: draws of the generator, of which the nearest is taken.

    Raises:
        BadParameter: a number is out of its range.

    >>> sampler = Shifting(levels=2, floor=0.5)
    >>> sampler.fast, sampler.slow = [1.0, 2.0], [1.0, 3.0]
    >>> sampler.odds.tolist()
    [0.25, 0.75]
    """

    def __init__(self, levels: int = 8, cost: Measure = "flops", *, rate: float = 0.3, floor: float = 0.2, tries: int = 4) -> None:
        if not (0 < rate <= 1 and 0 < floor < 1 and tries >= 1):
            raise BadParameter(f"rate lies in (0, 1], floor in (0, 1), tries is at least 1; found {rate}, {floor} and {tries}.")
        self.levels, self.rate, self.floor, self.tries = Levels(levels, cost), rate, floor, tries
        self.fast: list[float | None] = [None] * levels
        self.slow: list[float | None] = [None] * levels
        self.generator = CostGenerator()

    @property
    def odds(self) -> np.ndarray:
        """How likely each level is drawn next."""
        count = self.levels.count
        known = [abs(fast - slow) if fast is not None and slow is not None else None for fast, slow in zip(self.fast, self.slow, strict=True)]
        variation = np.array([np.nan if v is None else v for v in known])
        if np.isnan(variation).any() or not variation.sum() > 0:
            return np.full(count, 1 / count)
        return (1 - self.floor) * variation / variation.sum() + self.floor / count

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        level = int(random.choice(self.levels.count, p=self.odds))
        target = (level + float(random.random())) / self.levels.count
        found = [self.generator.draw(net, self.levels, target, random) for _ in range(self.tries)]
        return min(found, key=lambda values: abs(self.levels.place(net, values) - target))

    def told(self, values: Values, loss: float, net: Elastic) -> None:
        """Move the averages of the level."""
        level = self.levels.of(net, values)
        fast, slow = self.fast[level], self.slow[level]
        self.fast[level] = loss if fast is None else fast + self.rate * (loss - fast)
        self.slow[level] = loss if slow is None else slow + self.rate / 5 * (loss - slow)

    def state_dict(self) -> dict[str, Any]:
        """Averages of each level, and the generator."""
        return {"fast": list(self.fast), "slow": list(self.slow), "generator": self.generator.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Sampler`."""
        if len(state.get("fast", ())) != self.levels.count:
            raise BadParameter(f"the state has {len(state.get('fast', ()))} levels of cost, this sampler {self.levels.count}.")
        self.fast, self.slow = list(state["fast"]), list(state["slow"])
        self.generator.load(state["generator"])

    def __repr__(self) -> str:
        return f"Shifting(levels={self.levels.count}, cost={self.levels.measure!r})"
