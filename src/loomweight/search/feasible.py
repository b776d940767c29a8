"""The architectures whose costs keep their limits, and the way to one from anywhere."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import BadParameter
from .limits import Limit, cost_of
from .sampler import key_of
from .space import Space, Values
from .within import Region

#: steps of a walk towards the limits, and how many configurations are few enough to look at all
_STEPS, _FEW = 100, 4096
_NONE = (0, 0.0)


class Feasible(Region):
    """Configurations of a space that keep all limits. What a configuration costs is asked once, a limit that fails asks for no other.

    Args:
        cost: gives an object or a mapping with a number for each cost's name.
        limits: what has to hold; put those first that are quick to find out.

    >>> from loomweight.search import Ordered
    >>> from loomweight.search.limits import limits
    >>> space = Space({"width": Ordered((8, 16, 32))})
    >>> region = Feasible(space, lambda values: {"params": values["width"] ** 2}, limits({"params": "<= 300"}))
    >>> region.holds({"width": 16}), region.nearest({"width": 32}, np.random.default_rng(0))["width"] <= 16
    (True, True)
    """

    def __init__(self, space: Space, cost: Callable[[Values], Any], limits: tuple[Limit, ...]) -> None:
        self.space, self.limits = space, limits
        self.words: Mapping[str, Any] = {"subject to": [str(limit) for limit in limits]}
        self._cost = cost
        self._known: dict[tuple[Any, ...], Any] = {}
        self._extremes: dict[Limit, tuple[float, Values]] = {}

    def cost(self, values: Values) -> Any:
        """What the configuration costs, asked once."""
        key = key_of(values)
        if key not in self._known:
            self._known[key] = self._cost(dict(values))
        return self._known[key]

    def holds(self, values: Values) -> bool:
        """True where every limit holds."""
        return all(limit.holds(self._asked(limit, values)) for limit in self.limits)

    def nearest(self, values: Values, draw: np.random.Generator) -> Values:
        """A configuration that keeps the limits: mutated from the given one, step by step, never away from them.

        Where that leads nowhere, each field is set to its best value in turn; where that leads nowhere either, all are looked at if
        they are few.

        Raises:
            BadParameter: none was found; the message says what came nearest.
        """
        for way in (lambda: self._walk(values, draw), lambda: self._sweep(values), self._all):
            if (found := way()) is not None:
                return found
        raise BadParameter(self._nothing())

    def _asked(self, limit: Limit, values: Values) -> float:
        cost = cost_of(self.cost(values), limit.name)
        before = self._extremes.get(limit)
        if before is None or (cost < before[0] if limit.upper else cost > before[0]):
            self._extremes[limit] = cost, dict(values)
        return cost

    def _excess(self, values: Values) -> tuple[int, float]:
        """How many limits are left from the first that fails on, and by how much that one does: limits are met in their order."""
        for at, limit in enumerate(self.limits):
            if excess := limit.excess(self._asked(limit, values)):
                return len(self.limits) - at, excess
        return _NONE

    def _walk(self, values: Values, draw: np.random.Generator) -> Values | None:
        excess = self._excess(values)
        if all(dimension.options_left(dimension.last) == 0 for dimension in self.space.dimensions.values()):
            return values if excess == _NONE else None
        for _ in range(_STEPS):
            child = self.space.mutate(values, draw)
            if (further := self._excess(child)) <= excess:
                values, excess = child, further
            if excess == _NONE:
                return values
        return None

    def _sweep(self, values: Values) -> Values | None:
        excess, before = self._excess(values), (len(self.limits) + 1, 0.0)
        while _NONE < excess < before:
            before = excess
            for name, dimension in self.space.dimensions.items():
                if dimension.options_left(values[name]) is None:
                    continue
                tried = [self.space.canonical(values | {name: value}) for value in dimension.every()]
                values = min([values, *tried], key=self._excess)
            excess = self._excess(values)
        return values if excess == _NONE else None

    def _all(self) -> Values | None:
        if any(dimension.options_left(dimension.last) is None for dimension in self.space.dimensions.values()) or self.space.count() > _FEW:
            return None
        return next((values for values in self.space.enumerate() if self.holds(values)), None)

    def _nothing(self) -> str:
        seen = []
        for limit, (cost, values) in self._extremes.items():
            what = "smallest" if limit.upper else "largest"
            at = ", ".join(f"{name} = {values[name]!r}" for name in self.space.names if name in self.space.matters(values))
            seen.append(f"the {what} {limit.name} seen is {cost:g} ({at})")
        wanted = " and ".join(map(str, self.limits))
        return f"no architecture was found with {wanted}, among {len(self._known)} looked at: {'; '.join(seen)}. Loosen the limits, or widen the space."
