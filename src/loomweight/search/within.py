"""A sampler that is kept to a part of its space."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from .sampler import Sampler
from .space import Values


class Region(ABC):
    """The part of a space that may be tried.

    >>> from loomweight.search import Int, Space, Study
    >>> class Even(Region):
    ...     words = {"x": "even"}
    ...     def holds(self, values):
    ...         return values["x"] % 2 == 0
    ...     def nearest(self, values, draw):
    ...         return {"x": values["x"] - values["x"] % 2}
    >>> study = Study(Space({"x": Int(0, 9)}), sampler=Within("random", Even())).run(lambda v: v["x"], 20)
    >>> {trial.parameters["x"] % 2 for trial in study.trials}
    {0}
    """

    #: what a study file says of the region; another region does not go on with that file
    words: Any

    @abstractmethod
    def holds(self, values: Values) -> bool:
        """True where these values may be tried."""

    @abstractmethod
    def nearest(self, values: Values, draw: np.random.Generator) -> Values:
        """Values of the region that are near to those given; raise where there are none."""


@dataclass(frozen=True)
class Within:
    """A sampler, by its name or itself, whose proposals lie in a region.

    A proposal outside is drawn anew, a few times; then the nearest values inside take its place. The sampler learns of what is tried.

    Args:
        fresh: draw anew, too, what has been tried before; a sampler that wants repeats gets them all the same.

    >>> Within("tpe", region=None).sampler
    'tpe'
    """

    sampler: str | Sampler
    region: Region | None
    fresh: bool = False
