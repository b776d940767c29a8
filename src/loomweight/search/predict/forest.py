"""A random forest: what AttentiveNAS predicts accuracy with.

Papers: AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling (2021, https://arxiv.org/abs/2011.09011), whose stored predictor is
scikit-learn's forest of regression trees; Random Forests (2001, https://doi.org/10.1023/A:1010933404324).
"""

from dataclasses import dataclass

import numpy as np

from ...errors import BadParameter
from .predictor import Array, Learned, Posterior, Predictor


@dataclass(frozen=True)
class Forest(Predictor):
    """Mean of regression trees, each grown on n rows drawn with replacement; the spread is that between trees.

    A tree splits where the sum of squared errors falls most, halfway between two values, until a leaf would hold fewer than `leaf` rows. Among equally
    good splits it takes the first column in an order drawn for the tree. Every column may be split on, as in scikit-learn's default for regression.

    Args:
        trees: how many.
        leaf: rows in the smallest leaf.
        seed: of the rows drawn, and of the order of columns.

    Raises:
        BadParameter: a number below 1.

    >>> x = [[0.0], [1.0], [2.0], [3.0]]
    >>> bool(Forest().fit(x, [0.0, 0.0, 5.0, 5.0]).predict([[0.2]])[0] < 2)
    True
    """

    trees: int = 100
    leaf: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trees < 1 or self.leaf < 1:
            raise BadParameter(f"a forest has at least 1 tree, and leaves of at least 1 row; found {self}.")

    def learn(self, x: Array, y: Array) -> Learned:
        """Grow the trees."""
        draw = np.random.default_rng(self.seed)
        grown = [self._grown(x, y, draw) for _ in range(self.trees)]

        def belief(rows: Array) -> Posterior:
            found = np.stack([tree.values(rows[:, order]) for order, tree in grown])
            return Posterior(found.mean(axis=0), found.std(axis=0))

        return belief

    def _grown(self, x: Array, y: Array, draw: np.random.Generator) -> tuple["np.ndarray", "Tree"]:
        some, order = draw.integers(len(y), size=len(y)), draw.permutation(x.shape[1])
        return order, grow(x[some][:, order], y[some], self.leaf)


@dataclass(frozen=True)
class Tree:
    """Nodes in the order they were made: column and level of a split (rows at or below go to `low`), or -1 and a leaf's value."""

    column: "np.ndarray"
    level: Array
    low: "np.ndarray"
    high: "np.ndarray"
    value: Array

    def values(self, rows: Array) -> Array:
        """The leaf's value for each row."""
        at = np.zeros(len(rows), dtype=np.int64)
        while (moving := self.column[at] >= 0).any():
            here = at[moving]
            below = rows[moving, self.column[here]] <= self.level[here]
            at[moving] = np.where(below, self.low[here], self.high[here])
        return self.value[at]


def grow(x: Array, y: Array, leaf: int) -> Tree:
    """One tree, node after node."""
    nodes: list[list[float]] = []
    waiting = [np.arange(len(y))]
    while len(nodes) < len(waiting):
        rows = waiting[len(nodes)]
        split = best_split(x[rows], y[rows], leaf)
        if split is None:
            nodes.append([-1, 0.0, 0, 0, y[rows].mean()])
            continue
        column, level = split
        below = x[rows, column] <= level
        nodes.append([column, level, len(waiting), len(waiting) + 1, 0.0])
        waiting += [rows[below], rows[~below]]
    column, level, low, high, value = (np.array(each) for each in zip(*nodes, strict=True))
    return Tree(column.astype(np.int64), level, low.astype(np.int64), high.astype(np.int64), value)


def best_split(x: Array, y: Array, leaf: int) -> tuple[int, float] | None:
    """Column and level of the split after which squared errors are least, or None where none makes them fall."""
    n = len(y)
    if n < 2 * leaf or np.ptp(y) == 0:
        return None
    order = np.argsort(x, axis=0, kind="stable")
    sorted_x, centred = np.take_along_axis(x, order, axis=0), y - y.mean()
    sums, count = np.cumsum(centred[order], axis=0)[:-1], np.arange(1, n)[:, None]
    gain = sums**2 / count + sums**2 / (n - count)
    allowed = (np.diff(sorted_x, axis=0) > 0) & (count >= leaf) & (n - count >= leaf)
    gain = np.where(allowed, gain, -1.0)
    column = int(gain.max(axis=0).argmax())
    place = int(gain[:, column].argmax())
    if gain[place, column] <= 1e-12 * float(centred @ centred):
        return None
    return column, float((sorted_x[place, column] + sorted_x[place + 1, column]) / 2)
