"""Subnets of a requested cost: the range of costs in equal levels, and a way to draw from one of them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import BadParameter
from ..cost import size_of_used
from ..elastic import Elastic, Values

#: "params", "flops", "nbytes", "latency_ms", or any function of the elastic model and a configuration
Measure = str | Callable[[Elastic, Values], float]

#: spaces of at most so many configurations are listed
_LISTED = 512
#: draws until the nearest one is taken
_TRIES = 40


class Levels:
    """Draws subnets whose cost lies in one of `count` equal parts of the range from the smallest subnet's cost to the largest one's.

    Small spaces are listed. In others each field's options get probabilities that rise or fall exponentially along them, p ~ exp(slope * place),
    with a slope for each level that follows what the draws cost; a draw outside the level is repeated.

    Args:
        count: number of levels.
        measure: what counts as cost. "flops" and "latency_ms" run each new subnet on the example, "params" and "nbytes" only count.

    Raises:
        BadParameter: fewer than two levels, or an unknown cost.
    """

    def __init__(self, count: int, measure: Measure) -> None:
        if count < 2:
            raise BadParameter(f"costs are split into at least 2 levels, found {count}.")
        if isinstance(measure, str) and measure not in ("params", "flops", "nbytes", "latency_ms"):
            raise BadParameter(f"a cost is 'params', 'flops', 'nbytes', 'latency_ms' or a function of the model and a configuration, found {measure!r}.")
        self.count, self.measure = count, measure
        self.slopes = np.linspace(-6.0, 6.0, count).tolist()
        self._known: dict[Any, float] = {}
        self._ends: tuple[float, float] | None = None
        self._lists: list[list[Values]] | None = None

    def cost(self, net: Elastic, values: Values) -> float:
        """What a configuration costs; each is measured once."""
        key = tuple(values.values())
        if key not in self._known:
            self._known[key] = float(self._measured(net, values))
        return self._known[key]

    def _measured(self, net: Elastic, values: Values) -> float:
        if not isinstance(self.measure, str):
            return self.measure(net, values)
        if self.measure in ("params", "nbytes"):
            with net.selected(values):
                return size_of_used(net.model)[self.measure == "nbytes"]
        return getattr(net.cost(values), self.measure)

    def place(self, net: Elastic, values: Values) -> float:
        """Where the cost lies in the range: 0 for the smallest subnet, 1 for the largest."""
        if self._ends is None:
            self._ends = self.cost(net, net.min()), self.cost(net, net.max())
            if not self._ends[0] < self._ends[1]:
                raise BadParameter(f"the smallest subnet costs {self._ends[0]:g}, the largest {self._ends[1]:g}: there is no range to split; use another cost.")
        low, high = self._ends
        return (self.cost(net, values) - low) / (high - low)

    def of(self, net: Elastic, values: Values) -> int:
        """The level of a configuration."""
        return min(self.count - 1, max(0, int(self.place(net, values) * self.count)))

    def filled(self, net: Elastic) -> list[int]:
        """Levels from which something can be drawn; in spaces that are too large to list, all."""
        lists = self._listed(net)
        return list(range(self.count)) if lists is None else [level for level, found in enumerate(lists) if found]

    def draw(self, net: Elastic, level: int, random: np.random.Generator) -> Values:
        """A configuration of that level; the nearest of many draws where none is in it."""
        lists = self._listed(net)
        if lists is not None:
            return dict(lists[level][int(random.integers(len(lists[level])))])
        middle = (level + 0.5) / self.count
        best: tuple[float, Values] | None = None
        for _ in range(_TRIES):
            values = tilted(net, self.slopes[level], random)
            found = self.place(net, values)
            self.slopes[level] += 2.0 * (middle - found)
            if best is None or abs(found - middle) < best[0]:
                best = abs(found - middle), values
            if self.of(net, values) == level:
                return values
        assert best is not None
        return best[1]

    def state_dict(self) -> dict[str, Any]:
        """The slopes."""
        return {"slopes": list(self.slopes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        if len(state.get("slopes", ())) != self.count:
            raise BadParameter(f"the state has {len(state.get('slopes', ()))} levels of cost, this sampler {self.count}.")
        self.slopes = list(state["slopes"])

    def _listed(self, net: Elastic) -> list[list[Values]] | None:
        if self._lists is None and net.space.count() <= _LISTED:
            self._lists = [[] for _ in range(self.count)]
            for values in net.space.enumerate():
                self._lists[self.of(net, values)].append(values)
        return self._lists


def tilted(net: Elastic, slope: float, random: np.random.Generator) -> Values:
    """A configuration whose fields lean to their last options for a positive slope, to their first ones for a negative one."""
    values = {}
    for name, dimension in net.space.dimensions.items():
        options = dimension.options  # type: ignore[attr-defined]
        weights = np.exp(slope * np.linspace(0.0, 1.0, len(options)) - max(slope, 0.0))
        values[name] = options[int(random.choice(len(options), p=weights / weights.sum()))]
    return net.space.canonical(values)
