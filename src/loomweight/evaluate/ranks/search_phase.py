"""Whether a search finds better architectures than drawing at random does, at the same cost.

Paper: Evaluating the Search Phase of Neural Architecture Search (2019, https://arxiv.org/abs/1902.08142), section 3.
Original code: https://github.com/kcyu2014/eval-nas. We differ: the paper compares with one architecture at random; ours compares with
random search that scores as many architectures as the search does, counts what the search asks for, and tests the difference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BadParameter, NonFinite
from .correlation import Interval, ends
from .improvement import relative_improvement

Score = Callable[[Any], float]


@dataclass(frozen=True)
class SearchPhase:
    """A search beside random search, over seeds.

    Args:
        found: the truth of what the search returned, one a seed.
        random: the truth of the best of `budget` random architectures by score, one a seed.
        average: the truth of single random architectures, the paper's random policy: one a seed.
        difference: mean of found - mean of random.
        superiority: chance that a run of the search beats a run of random search; ties count half.
        p_value: of "no better than random search" (Mann-Whitney, one-sided).
        budget: architectures that each run could score.
    """

    found: tuple[float, ...]
    random: tuple[float, ...]
    average: tuple[float, ...]
    difference: Interval
    superiority: float
    p_value: float
    budget: int

    @property
    def improvement(self) -> Interval:
        """Relative to single random architectures, in per cent (`relative_improvement`)."""
        return relative_improvement(self.found, self.average)

    def better(self, level: float = 0.05) -> bool:
        """True where the search beats random search at this level of significance."""
        return self.p_value < level

    def __str__(self) -> str:
        verdict = "better than random search" if self.better() else "no better than random search, by this test"
        means = f"search {np.mean(self.found):.3f}, random search {np.mean(self.random):.3f}, one at random {np.mean(self.average):.3f}"
        return (
            f"{len(self.found)} seeds, budget {self.budget}: {means}\ndifference {self.difference}, "
            f"superiority {self.superiority:.2f}, p = {self.p_value:.2g}: {verdict}"
        )


def search_phase(
    search: Callable[[Score, int, int], Any],
    sample: Callable[[np.random.Generator], Any],
    score: Score,
    *,
    budget: int,
    seeds: int = 10,
    truth: Score | None = None,
) -> SearchPhase:
    """Run a search and random search with as many calls of `score`, from several seeds, and compare what they return.

    Args:
        search: `search(ask, budget, seed)` returns an architecture; it learns of scores by `ask(arch)`, at most `budget` times.
        sample: draws an architecture from a generator.
        score: what guides a search, such as validation accuracy; larger is better.
        budget: calls of `ask` in a run.
        seeds: runs of each.
        truth: what an architecture is worth, such as test accuracy after full training; the score itself where there is no other.

    Raises:
        BadParameter: the search asked more often than the budget allows; fewer than two seeds; a budget below 1.
        NonFinite: a score or a truth is NaN or infinite.

    >>> def climb(ask, budget, seed):
    ...     return max(range(50, 50 + budget), key=ask)
    >>> phase = search_phase(climb, lambda generator: int(generator.integers(50)), float, budget=5)
    >>> phase.superiority, phase.better()
    (1.0, True)
    """
    if budget < 1 or seeds < 2:
        raise BadParameter(f"a budget of at least 1 and 2 seeds are needed, found {budget} and {seeds}.")
    truth = truth or score
    found, random, average = [], [], []
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        found.append(_checked(truth, search(_Counted(score, budget), budget, seed)))
        drawn = [sample(generator) for _ in range(budget)]
        random.append(_checked(truth, max(drawn, key=lambda arch: _checked(score, arch))))
        average.append(_checked(truth, drawn[0]))
    return _compared(found, random, average, budget)


class _Counted:
    """A score that can be asked for so many times."""

    def __init__(self, score: Score, budget: int) -> None:
        self.score, self.budget, self.asked = score, budget, 0

    def __call__(self, arch: Any) -> float:
        if self.asked == self.budget:
            raise BadParameter(f"the search asked for a score more than {self.budget} times, its budget; random search gets no more either.")
        self.asked += 1
        return _checked(self.score, arch)


def _checked(score: Score, arch: Any) -> float:
    value = float(score(arch))
    if not np.isfinite(value):
        raise NonFinite(f"the score of {arch!r} is {value}; score what failed by the lowest value there is, such as chance.")
    return value


def _compared(found: list[float], random: list[float], average: list[float], budget: int) -> SearchPhase:
    from scipy.stats import mannwhitneyu

    one, other = np.array(found), np.array(random)
    generator = np.random.default_rng(0)
    drawn = [generator.choice(one, one.size).mean() - generator.choice(other, other.size).mean() for _ in range(1000)]
    difference = Interval(float(one.mean() - other.mean()), *ends(drawn, 0.95))
    test = mannwhitneyu(one, other, alternative="greater")
    return SearchPhase(tuple(found), tuple(random), tuple(average), difference, float(test.statistic) / (one.size * other.size), float(test.pvalue), budget)
