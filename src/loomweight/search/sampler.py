"""What a sampler is: a function from what has been tried to what to try next."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadParameter
from .front import Direction
from .space import Space, Values
from .trial import Trial


@dataclass(frozen=True)
class Past:
    """What a sampler may know: the space, all trials in the order they were asked, open ones too, and random numbers of its own.

    `draw` depends on the study's seed and the number of the trial alone.

    >>> from loomweight.search import Ordered
    >>> trials = (Trial(0, {"depth": 1}, (0.5,)), Trial(1, {"depth": 2}))
    >>> past = Past(Space({"depth": Ordered((1, 2))}), ("min",), trials, np.random.default_rng(0))
    >>> [trial.number for trial in past.finished], past.score(trials[0])
    ([0], -0.5)
    """

    space: Space
    directions: tuple[Direction, ...]
    trials: tuple[Trial, ...]
    draw: np.random.Generator

    @property
    def finished(self) -> list[Trial]:
        """The trials that have values."""
        return [trial for trial in self.trials if trial.finished]

    def score(self, trial: Trial) -> float:
        """The first objective of a finished trial, turned so that more is better."""
        return trial.values[0] if self.directions[0] == "max" else -trial.values[0]


class Sampler(ABC):
    """Proposes what to try next. A frozen dataclass of its settings: its state is the study's past, so every study resumes.

    >>> from dataclasses import dataclass
    >>> from loomweight.search import Ordered, Study
    >>> @dataclass(frozen=True)
    ... class Upwards(Sampler):
    ...     def propose(self, past):
    ...         return {"depth": len(past.trials)}
    >>> Study(Space({"depth": Ordered((0, 1, 2))}), sampler=Upwards()).run(lambda v: v["depth"], 3).best.parameters
    {'depth': 2}
    """

    #: True where the same values are worth proposing again, because what they are worth changes
    repeats = False

    @abstractmethod
    def propose(self, past: Past) -> Values:
        """Values to try next, all of the space's fields."""

    def suits(self, space: Space, objectives: int) -> None:
        """Raise `BadParameter` where it cannot search this space for that many objectives; by default only one will do."""
        if objectives > 1:
            raise BadParameter(f"{self} searches one objective, found {objectives}; use nsga2 or tpe, or combine them into one number.")


def key_of(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Values as something that can be compared and looked up; 1 and True differ.

    >>> key_of({"a": 1}) == key_of({"a": True})
    False
    """
    return tuple((type(value), value) for value in values.values())
