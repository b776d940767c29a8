"""Where a study's proposals come from: Optuna, which keeps a state of its own, or a sampler of ours, which has none."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .front import Direction
from .sampler import Past, Sampler
from .samplers import optuna, own, quiet, sampler, seed_of
from .space import Space, Values
from .trial import Trial

_OPTUNA = {"max": "maximize", "min": "minimize"}


class Proposals(ABC):
    """Proposes values for trial after trial; of several attempts at one trial the last one counts."""

    @abstractmethod
    def propose(self, number: int, trials: Sequence[Trial], attempt: int) -> Values:
        """Values to try; an attempt after the first takes the one before it back."""

    @abstractmethod
    def given(self, number: int, values: Mapping[str, Any], passed: int, counts: bool) -> None:
        """The values of a trial are given from outside. As many attempts as `passed` went before it.

        Args:
            counts: False for a trial that the sampler would not have been asked for.
        """

    @abstractmethod
    def told(self, number: int, row: Sequence[float]) -> None:
        """A trial has values."""

    @abstractmethod
    def failed(self, number: int, worst: Sequence[float]) -> None:
        """A trial has none; `worst` are the worst ones so far, or empty."""


class FromSampler(Proposals):
    """Proposals of a function of the past."""

    def __init__(self, source: Sampler, space: Space, directions: tuple[Direction, ...], seed: int) -> None:
        self._source, self._space, self._directions, self._seed = source, space, directions, seed

    def propose(self, number: int, trials: Sequence[Trial], attempt: int) -> Values:
        """What the sampler makes of the past."""
        draw = np.random.default_rng(seed_of(self._seed, number, attempt))
        return self._space.check(self._source.propose(Past(self._space, self._directions, tuple(trials), draw)))

    def given(self, number: int, values: Mapping[str, Any], passed: int, counts: bool) -> None:
        """The past says it."""

    def told(self, number: int, row: Sequence[float]) -> None:
        """The past says it."""

    def failed(self, number: int, worst: Sequence[float]) -> None:
        """The past says it."""


class FromOptuna(Proposals):
    """Proposals of one of Optuna's samplers, a fresh one for each trial, over a study of Optuna's in memory."""

    def __init__(self, kind: str, space: Space, directions: tuple[Direction, ...], seed: int, population: int | None) -> None:
        self._kind, self._space, self._seed, self._population = kind, space, seed, population
        self._asked: dict[int, Any] = {}
        with quiet():
            self._study = optuna().create_study(directions=[_OPTUNA[direction] for direction in directions])

    def propose(self, number: int, trials: Sequence[Trial], attempt: int) -> Values:
        """What Optuna suggests; a suggestion that is taken back counts as failed, which its samplers overlook."""
        return self._ask(number, attempt, None, True)

    def given(self, number: int, values: Mapping[str, Any], passed: int, counts: bool) -> None:
        """Optuna is made to suggest these; it draws all the same, to get into the same state."""
        for attempt in range(0 if number in self._asked else passed):
            self._ask(number, attempt, values, counts)
        self._ask(number, passed, values, counts)

    def told(self, number: int, row: Sequence[float]) -> None:
        """Optuna learns of it."""
        with quiet():
            self._study.tell(self._asked.pop(number), list(row))

    def failed(self, number: int, worst: Sequence[float]) -> None:
        """Samplers overlook failed trials and ask for the same again, so they are told the worst values so far, where there are any."""
        if worst:
            self.told(number, worst)
        else:
            self._take_back(number)

    def _take_back(self, number: int) -> None:
        with quiet():
            self._study.tell(self._asked.pop(number), state=optuna().trial.TrialState.FAIL)

    def _ask(self, number: int, attempt: int, values: Mapping[str, Any] | None, counts: bool) -> Values:
        if number in self._asked:
            self._take_back(number)
        with quiet():
            self._study.sampler = sampler(self._kind, self._space, seed_of(self._seed, number, attempt), self._population)
            if values is not None:
                self._study.enqueue_trial({name: self._space.dimensions[name].encode(value) for name, value in values.items()})
            asked = self._study.ask()
            if counts:  # the given ones are no draws, so CMA-ES does not count them as its own
                _ = asked.relative_params
            found = {name: dimension.suggest(asked, name) for name, dimension in self._space.dimensions.items()}
        self._asked[number] = asked
        return found


def proposals(kind: str | Sampler, space: Space, directions: tuple[Direction, ...], seed: int, population: int | None) -> Proposals:
    """Where the proposals of a sampler come from; `kind` is a sampler or a name that `chosen` returned."""
    if (source := own(kind, population)) is not None:
        source.suits(space, len(directions))
        return FromSampler(source, space, directions, seed)
    assert isinstance(kind, str)
    return FromOptuna(kind, space, directions, seed, population)
