"""EMARS: evolve by accuracy and by how fast accuracy rises, while the supernet trains.

Paper: Evolutionary Multi-objective Architecture Search Framework: Application to COVID-19 3D CT Classification (2022,
https://arxiv.org/abs/2101.10667).

The definition is the authors' code (github.com/marsggbo/MICCAI2022-EMARS, `calculate_speed`): the potential of an architecture is the
slope of the least-squares line through the accuracies it has had so far, epoch by epoch; of one that was measured once it is that
accuracy, which lets new ones in. Also theirs: a population of 20, as many children, of which a fifth are mutations (each field with
probability 0.2), three tenths crossovers and the rest random.

We differ: a falling accuracy keeps its negative slope, where the authors turn it into a tiny positive number that is larger the steeper
the fall; survivors are chosen by NSGA-II (A fast and elitist multiobjective genetic algorithm) over the two objectives, where they use
CARS's sorting with the size of the network as a third; for sizes there are constraints and fronts; a crossover takes each field from
either parent alike, where theirs takes 0.3 from the second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import BadParameter
from .crowding import survivors
from .sampler import Past, Sampler, key_of
from .space import Values
from .trial import Trial

_MUTATED, _CROSSED, _RATE = 0.2, 0.5, 0.2


def potential(accuracies: Sequence[float]) -> float:
    """How fast accuracy rises: the slope of the least-squares line through accuracies a_0 .. a_{n-1}; a_0 where it is the only one.

    slope = sum_i (i - mean(i)) a_i / sum_i (i - mean(i))^2, in units of accuracy a measurement.

    Part of: emars.

    Raises:
        BadParameter: there is no accuracy, or one is not finite.

    >>> round(potential([0.5, 0.6, 0.7]), 6), potential([0.4])
    (0.1, 0.4)
    """
    values = np.asarray(accuracies, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise BadParameter(f"potential needs at least one accuracy, all of them finite; found {list(accuracies)}.")
    if len(values) == 1:
        return float(values[0])
    at = np.arange(len(values)) - (len(values) - 1) / 2
    return float(at @ values / (at @ at))


@dataclass(frozen=True)
class EMARS(Sampler):
    """Rounds of `population` survivors, measured again, and as many children.

    Survivors are the first `population` architectures of the round before by (accuracy, potential). It makes sense only where the
    same architecture is worth something else later, because the shared weights are trained between the trials.

    Args:
        population: survivors of a round.

    Raises:
        BadParameter: the population has fewer than 2 members.

    >>> from loomweight.search import Ordered, Space, Study
    >>> study = Study(Space({f"w{i}": Ordered((8, 16, 32, 64)) for i in range(4)}), sampler=EMARS(population=6))
    >>> study.run(lambda v: sum(v.values()), 80).best.values[0] > 200
    True
    """

    population: int = 20
    repeats = True

    def __post_init__(self) -> None:
        if self.population < 2:
            raise BadParameter(f"{self} needs a population of at least 2.")

    def propose(self, past: Past) -> Values:
        """A random configuration in the first round; later a survivor of the round before, or a child of them."""
        begin, place = self._round(len(past.trials))
        alive = self._survivors(past, begin) if begin else []
        if not alive:
            return past.space.sample(past.draw)
        if place < len(alive):
            return dict(alive[place])
        return self._child(past, alive)

    def _round(self, number: int) -> tuple[int, int]:
        """Number of the first trial of this trial's round, and its place in it."""
        if number < self.population:
            return 0, number
        place = (number - self.population) % (2 * self.population)
        return number - place, place

    def _survivors(self, past: Past, begin: int) -> list[Values]:
        before = max(0, begin - 2 * self.population)
        history: dict[tuple[object, ...], list[Trial]] = {}
        for trial in past.trials[:begin]:
            if trial.finished and np.isfinite(trial.values[0]):
                history.setdefault(key_of(trial.parameters), []).append(trial)
        recent = [trials for trials in history.values() if trials[-1].number >= before]
        goods = [[past.score(trials[-1]), potential([past.score(trial) for trial in trials])] for trials in recent]
        return [recent[i][-1].parameters for i in survivors(goods, self.population)]

    def _child(self, past: Past, alive: list[Values]) -> Values:
        kind = past.draw.random()
        if kind < _MUTATED:
            return past.space.mutate(alive[past.draw.integers(len(alive))], past.draw, _RATE)
        if kind < _CROSSED and len(alive) > 1:
            a, b = past.draw.choice(len(alive), size=2, replace=False)
            return past.space.cross(alive[a], alive[b], past.draw)
        return past.space.sample(past.draw)
