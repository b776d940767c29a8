"""A combinatorial bandit, searched by nested Monte-Carlo search: fields are fixed one after another, each by what its options led to.

Paper: Neural Architecture Search via Combinatorial Multi-Armed Bandit (2021, https://arxiv.org/abs/2101.00336).

What the abstract fixes: an architecture is a combination of local arms, one for each block; the search over them is nested
Monte-Carlo search, with rewards from evaluations. We found no code of the authors, so the rest is our reading, and theirs may differ:
each field of the space is a local bandit whose arms are its options; its statistics are the rewards of all trials that had that option
(the naive assumption of combinatorial bandits: fields add up). One pass of a nested search of level 1 tries every option of the first
field with a playout of the others, keeps the option of the pass's best trial, and goes on with the next field. Playouts draw each field
from its local bandit, by UCB1, or evenly with probability `explore`.
"""

from collections.abc import Generator
from dataclasses import dataclass
from math import inf, log, sqrt
from typing import Any

from ..errors import BadParameter
from .choice import typed
from .sampler import Past, Sampler
from .space import Space, Values
from .trial import Trial


@dataclass(frozen=True)
class NestedBandit(Sampler):
    """UCB1 of an option: its mean reward + `width` sqrt(2 ln N / n), n of N trials having had it, rewards scaled to [0, 1].

    Args:
        explore: probability that a playout draws a field evenly.
        width: how much an option that was tried less is favoured.

    Raises:
        BadParameter: `explore` lies outside [0, 1], or `width` below 0; a field is a number without gaps.

    >>> from loomweight.search import Ordered, Study
    >>> space = Space({f"width{i}": Ordered((8, 16, 32, 64)) for i in range(4)})
    >>> Study(space, sampler=NestedBandit()).run(lambda v: sum(v.values()), 60).best.values
    (256.0,)
    """

    explore: float = 0.2
    width: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.explore <= 1 or not self.width >= 0:
            raise BadParameter(f"{self} needs `explore` in [0, 1] and `width` of at least 0.")

    def suits(self, space: Space, objectives: int) -> None:
        """One objective, and options to choose from."""
        super().suits(space, objectives)
        for name, dimension in space.dimensions.items():
            if dimension.options_left(dimension.last) is None:
                raise BadParameter(f"{self} chooses among options, but {name!r} is {dimension}, a number without gaps; use Int, Choice or Ordered.")

    def propose(self, past: Past) -> Values:
        """The next option of the field at hand, after the fields that are fixed and before a playout of the others."""
        if past.space.count() == 1:
            return past.space.sample(past.draw)
        fixed, field, option = _next(past)
        chosen = fixed | {field: option}
        bandits = _Bandits(past, self.width)
        for name in past.space.order:
            if name not in chosen:
                dimension = past.space.dimensions[name]
                chosen[name] = dimension.sample(past.draw) if past.draw.random() < self.explore else bandits.best(name)
        return past.space.canonical(chosen)


def _next(past: Past) -> tuple[Values, str, Any]:
    """Which fields are fixed at what, the field at hand, and its option: found by going through the trials as they were asked."""
    steps, run = _steps(past.space, {}), list[Trial]()
    fixed, field, option = next(steps)
    for at, trial in enumerate(past.trials):
        run.append(trial)
        known = past.trials[at + 1].parameters if at + 1 < len(past.trials) else None
        try:
            fixed, field, option = steps.send(known or _best(past, run))
        except StopIteration:
            steps, run = _steps(past.space, {}), []
            fixed, field, option = next(steps)
    return fixed, field, option


def _steps(space: Space, fixed: Values) -> Generator[tuple[Values, str, Any], Values, None]:
    """All steps of one pass. Sent is a configuration that holds what is to be kept of the field that was just finished."""
    for name in space.order:
        if name not in space.matters({name: fixed.get(name, dimension.last) for name, dimension in space.dimensions.items()}):
            continue
        options = list(space.dimensions[name].every())
        keep: Values = {name: options[0]}
        for option in options if len(options) > 1 else ():
            keep = yield dict(fixed), name, option
        fixed[name] = keep[name]


def _best(past: Past, run: list[Trial]) -> Values:
    """The best of the pass, or where none has been told yet the last one asked."""
    told = [trial for trial in run if trial.finished]
    return max(told, key=past.score, default=run[-1]).parameters


class _Bandits:
    """The local bandits: for each field, how often each option was tried and what came of it."""

    def __init__(self, past: Past, width: float) -> None:
        self._past, self._width = past, width
        told = past.finished
        scores = [past.score(trial) for trial in told if abs(past.score(trial)) < inf]
        low, span = min(scores, default=0.0), max(scores, default=0.0) - min(scores, default=0.0)
        self._rewards: dict[str, dict[Any, list[float]]] = {name: {} for name in past.space.names}
        for trial in told:
            reward = min(max((past.score(trial) - low) / span, 0.0), 1.0) if span else 0.5
            for name in past.space.matters(trial.parameters):
                self._rewards[name].setdefault(typed(trial.parameters[name]), []).append(reward)

    def best(self, name: str) -> Any:
        """The option with the largest upper bound; one that was never tried before all others."""
        rewards, options = self._rewards[name], list(self._past.space.dimensions[name].every())
        total = sum(map(len, rewards.values()))
        bounds = []
        for option in options:
            mine = rewards.get(typed(option))
            bounds.append(sum(mine) / len(mine) + self._width * sqrt(2 * log(total) / len(mine)) if mine else inf)
        ties = [option for option, bound in zip(options, bounds, strict=True) if bound == max(bounds)]
        return ties[int(self._past.draw.integers(len(ties)))]
