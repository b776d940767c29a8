"""RoBoT: training-free metrics put together by Bayesian optimization, and the rest of the budget spent down the ranking.

Paper: Robustifying and Boosting Training-Free Neural Architecture Search (2024, https://arxiv.org/abs/2403.07591), algorithm 1. Original code:
https://github.com/hzf1174/RoBoT. As there, metrics are scaled to [0, 1], weights lie in [-1, 1], a metric without a value counts as 0, the reward of weights is
what their first-ranked architecture is worth, and one that was queried before costs nothing. We differ: the process over weights is our own (Matern 5/2, its
length by marginal likelihood, an upper confidence bound at 2,048 drawn weights and some near the best), the first rounds take each metric alone, and of weights
that rank the same best architecture first, those are followed that agree most with all queries, where the code takes the last.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from ...errors import BadParameter
from .gaussian import distances
from .predictor import Array

LENGTHS = (0.3, 1.0, 3.0)


@dataclass(frozen=True)
class RobotSearch:
    """What a search by RoBoT found.

    Part of: robot.

    Args:
        best: position of the best architecture that was queried.
        value: what it is worth.
        weights: metric -> its weight in the combined metric, the one whose first-ranked architecture was worth most.
        queried: position -> value, in the order of the queries.
        explored: how many of the queries the search for weights took; the others went down the ranking.
    """

    best: int
    value: float
    weights: dict[str, float]
    queried: dict[int, float]
    explored: int


def robot(metrics: Mapping[str, Any], query: Callable[[int], float], budget: int, *, rounds: int | None = None, seed: int = 0) -> RobotSearch:
    """Find a good architecture among n, of which training-free metrics are known and `budget` may be measured.

    Args:
        metrics: name -> n values; larger need not be better. NaN where a metric has none.
        query: what the architecture at a position is worth, larger being better. It is asked once for each.
        budget: most queries.
        rounds: how many weights are tried before the ranking is followed; None: as many as the budget. Fewer queries come of it, where
            several weights rank the same architecture first.
        seed: of the weights that are drawn.

    Raises:
        BadParameter: no metric or query, lengths that differ, a metric without any value, or an infinite one; a query that is not finite.

    >>> size, depth = [1, 2, 3, 4], [4, 3, 1, 2]
    >>> found = robot({"size": size, "depth": depth}, lambda i: [0.1, 0.9, 0.2, 0.3][i], budget=3)
    >>> len(found.queried), found.value == max(found.queried.values())
    (3, True)
    """
    table = scaled(metrics)
    if budget < 1 or (rounds is not None and rounds < 1):
        raise BadParameter(f"a search needs at least 1 query and 1 round, found {budget} and {rounds}.")
    asked = _Asked(query, {})
    draw = np.random.default_rng(seed)
    tried: list[Array] = []
    rewards: list[float] = []
    for number in range(min(rounds or budget, budget)):
        weights = np.eye(len(metrics))[number] if number < len(metrics) else proposal(np.array(tried), np.array(rewards), draw)
        tried.append(weights)
        rewards.append(asked(ranking(table, weights)[0]))
    best_tried = [weights for weights, reward in zip(tried, rewards, strict=True) if reward == max(rewards)]
    chosen, explored = max(best_tried, key=lambda weights: agreement(table, weights, asked.values)), len(asked.values)
    for position in ranking(table, chosen):
        if len(asked.values) >= budget:
            break
        asked(position)
    best = max(asked.values, key=lambda position: asked.values[position])
    return RobotSearch(best, asked.values[best], dict(zip(metrics, chosen.tolist(), strict=True)), asked.values, explored)


@dataclass
class _Asked:
    """Queries, each made once."""

    query: Callable[[int], float]
    values: dict[int, float]

    def __call__(self, position: int) -> float:
        if position not in self.values:
            value = float(self.query(position))
            if not isfinite(value):
                raise BadParameter(f"the query of architecture {position} gave {value}; a failed one is worth the least finite value there is.")
            self.values[position] = value
        return self.values[position]


def scaled(metrics: Mapping[str, Any]) -> Array:
    """(n, metrics) in [0, 1], 0 for what has no value."""
    columns = {name: np.asarray(values, dtype=np.float64).reshape(-1) for name, values in metrics.items()}
    if not columns or len({len(column) for column in columns.values()}) > 1:
        raise BadParameter(f"metrics need a value for each architecture; found lengths { ({name: len(column) for name, column in columns.items()}) }.")
    for name, column in columns.items():
        if np.isnan(column).all() or np.isinf(column).any():
            raise BadParameter(
                f"metric {name!r} {'has no value at all' if np.isnan(column).all() else 'is infinite somewhere'}; leave it out, or say NaN there."
            )
    low, width = (np.array([f(column) for column in columns.values()]) for f in (np.nanmin, lambda column: np.nanmax(column) - np.nanmin(column)))
    return np.nan_to_num((np.column_stack(list(columns.values())) - low) / np.where(width > 0, width, 1.0))


def ranking(table: Array, weights: Array) -> list[int]:
    """Positions from the largest combined metric on, the earlier of equals first."""
    return np.argsort(-(table @ weights), kind="stable").tolist()


def agreement(table: Array, weights: Array, known: Mapping[int, float]) -> float:
    """Correlation of the combined metric with what is known, 0 where either is constant."""
    both = np.array([table[list(known)] @ weights, list(known.values())])
    return float(np.corrcoef(both)[0, 1]) if both.shape[1] > 1 and (both.std(axis=1) > 1e-12).all() else 0.0


def proposal(tried: Array, rewards: Array, draw: np.random.Generator) -> Array:
    """Weights in [-1, 1] where mean + 2.576 standard deviations of the process over weights is largest among those drawn."""
    spread = rewards.std()
    values = (rewards - rewards.mean()) / (spread if spread > 0 else 1.0)
    length, inverse = max(((length, _inverse(tried, length)) for length in LENGTHS), key=lambda pair: _likelihood(pair[1], values))
    near = tried[int(rewards.argmax())] + 0.1 * draw.normal(size=(256, tried.shape[1]))
    drawn = np.vstack([draw.uniform(-1, 1, (2048, tried.shape[1])), near.clip(-1, 1)])
    across = _matern(drawn, tried, length)
    variance = np.maximum(1 - np.einsum("nm,mk,nk->n", across, inverse, across), 0)
    return drawn[int((across @ inverse @ values + 2.576 * np.sqrt(variance)).argmax())]


def _matern(a: Array, b: Array, length: float) -> Array:
    ratio = np.sqrt(5) * distances(a, b) / length
    return (1 + ratio + ratio**2 / 3) * np.exp(-ratio)


def _inverse(tried: Array, length: float) -> Array:
    return np.asarray(np.linalg.inv(_matern(tried, tried, length) + 1e-4 * np.eye(len(tried))), dtype=np.float64)


def _likelihood(inverse: Array, values: Array) -> float:
    """Twice the log density of the values, up to a constant."""
    return float(np.linalg.slogdet(inverse)[1] - values @ inverse @ values)
