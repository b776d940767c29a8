"""The Pareto front: what no other trial beats in everything."""

from collections.abc import Sequence
from typing import Literal

import torch

from ..errors import BadParameter

Direction = Literal["max", "min"]


def front(values: Sequence[Sequence[float]], directions: Sequence[Direction]) -> tuple[int, ...]:
    """Indices of the rows that no other row dominates, in the order of the rows.

    Row a dominates row b when a is at least as good in every objective and better in one. Equal rows do not dominate each
    other: all of them are kept.

    Args:
        values: a row a trial, a column an objective.
        directions: "max" or "min" for each column.

    Raises:
        BadParameter: a row has another length than `directions`, or a value is NaN.

    >>> front([[1, 9], [2, 5], [2, 4], [0, 9]], ("max", "max"))
    (0, 1)
    """
    if bad := [row for row in values if len(row) != len(directions)]:
        raise BadParameter(f"every row needs {len(directions)} values, one an objective; found {list(bad[0])}.")
    if not values:
        return ()
    signs = torch.tensor([1.0 if direction == "max" else -1.0 for direction in directions], dtype=torch.float64)
    rows = torch.tensor(values, dtype=torch.float64) * signs
    if rows.isnan().any():
        raise BadParameter("a Pareto front has no place for NaN; leave such rows out.")
    return tuple(i for i, row in enumerate(rows) if not ((rows >= row).all(1) & (rows > row).any(1)).any())
