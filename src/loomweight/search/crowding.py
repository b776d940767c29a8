"""Who survives by several objectives: front after front, and within the last one those in the emptier places.

Paper: A fast and elitist multiobjective genetic algorithm: NSGA-II (2002, https://doi.org/10.1109/4235.996017), sections III.A and
III.B.
"""

from collections.abc import Sequence

import numpy as np

from .front import front


def survivors(goods: Sequence[Sequence[float]], count: int) -> list[int]:
    """Indices of the `count` best rows, more being better in every column: by front, then by crowding distance, wide ones first.

    Part of: emars.

    >>> survivors([[0, 3], [1, 1], [2, 2], [3, 0]], 3)
    [0, 3, 2]
    """
    left, chosen = list(range(len(goods))), []
    while left and len(chosen) < count:
        best = [left[i] for i in front([goods[i] for i in left], ("max",) * len(goods[left[0]]))]
        distance = crowding([goods[i] for i in best])
        chosen += [best[i] for i in np.argsort(-distance, kind="stable")]
        left = [i for i in left if i not in best]
    return chosen[:count]


def crowding(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """The crowding distance of each row: in every column the gap between its two neighbours, as a share of the column's range; at the ends infinite.

    Part of: emars.

    >>> crowding([[0, 4], [1, 3], [4, 0]])
    array([inf,  2., inf])
    """
    table = np.asarray(rows, dtype=np.float64)
    distance = np.zeros(len(table))
    for column in table.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if span > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance
