"""The best assignment of units to units, given how much is gained by putting each at each place.

Papers: The Hungarian method for the assignment problem (1955, https://doi.org/10.1002/nav.3800020109); On implementing 2D rectangular
assignment algorithms (2016, https://doi.org/10.1109/TAES.2016.140952), which SciPy implements.
"""

from math import fsum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadParameter, NonFinite
from ..shapes import Float

#: gain[place, unit]
Gain = NDArray[np.float64]
Order = NDArray[np.int64]


def assignment(similarity: Float[Tensor, "*batch places units"]) -> Tensor:
    """The order that makes sum_i similarity[i, order[i]] largest; a batch has an order for each of its matrices.

    Where several orders reach the largest sum, units stay: if the identity is among them it is taken, and units whose columns
    (places whose rows) are equal bit for bit keep their positions among one another. Sums are compared exactly.

    Part of: weight_matching.

    Args:
        similarity: what is gained by putting unit j (a column) at place i (a row).

    Returns:
        Integers "*batch n": order[i] is the unit that comes to place i.

    Raises:
        NonFinite: the similarity holds NaN or Inf.
        BadParameter: the matrices are not square.

    >>> assignment(torch.tensor([[0.1, 2.0], [1.0, 2.0]]))
    tensor([1, 0])
    >>> assignment(torch.ones(3, 3))
    tensor([0, 1, 2])
    """
    if similarity.ndim < 2 or similarity.shape[-1] != similarity.shape[-2]:
        raise BadParameter(f"a similarity is a square matrix, or a batch of them; found shape {tuple(similarity.shape)}.")
    gains = similarity.detach().double().cpu().numpy()
    orders = np.empty(gains.shape[:-1], np.int64)
    for at in np.ndindex(gains.shape[:-2]):
        orders[at] = best_order(gains[at])
    return torch.from_numpy(orders)


def best_order(gain: Gain) -> Order:
    """The order of one matrix in float64; see `assignment`."""
    if not np.isfinite(gain.sum()) and not np.isfinite(gain).all():
        raise NonFinite("the similarity of units holds NaN or Inf, so there is no best assignment; look for NaN in the weights or in the activations.")
    stay = np.arange(len(gain))
    order = gain.argmax(1)
    if len(np.unique(order)) < len(order):
        order = _solved(gain)
    if (order == stay).all():
        return stay
    order = _by_position(gain, order)
    return order if fsum(gain[stay, order]) > fsum(gain[stay, stay]) else stay


def _solved(gain: Gain) -> Order:
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(-gain)[1]


def _by_position(gain: Gain, order: Order) -> Order:
    """Of the orders that only exchange equal rows or equal columns, the first in lexicographic order."""
    rows, columns = same_rows(gain), same_rows(gain.T)
    if (rows == np.arange(len(rows))).all() and (columns == np.arange(len(columns))).all():
        return order
    links: dict[int, dict[int, int]] = {}
    for row, column in zip(rows.tolist(), columns[order].tolist(), strict=True):
        counts = links.setdefault(row, {})
        counts[column] = counts.get(column, 0) + 1
    queues = {column: np.flatnonzero(columns == column).tolist()[::-1] for column in set(columns.tolist())}
    found = np.empty_like(order)
    for place, row in enumerate(rows.tolist()):
        counts = links[row]
        column = min((c for c, left in counts.items() if left), key=lambda c: queues[c][-1])
        counts[column] -= 1
        found[place] = queues[column].pop()
    return found


def same_rows(matrix: NDArray[np.floating]) -> NDArray[np.int64]:
    """For each row the first row that is equal to it, bit for bit.

    >>> same_rows(np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]))
    array([0, 1, 0])
    """
    few = matrix[:, np.linspace(0, matrix.shape[1] - 1, min(8, matrix.shape[1])).astype(np.int64)]
    first = _first_of_each(few)
    if len(np.unique(first)) == len(first) or matrix.shape[1] <= 8:
        return first
    counts = np.bincount(first, minlength=len(first))
    suspects = np.flatnonzero(counts[first] > 1)
    found = np.arange(len(matrix))
    found[suspects] = suspects[_first_of_each(matrix[suspects])]
    return found


def _first_of_each(matrix: NDArray[np.floating]) -> NDArray[np.int64]:
    rows = np.ascontiguousarray(matrix) + 0.0  # -0.0 is 0.0
    _, first, where = np.unique(rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel(), return_index=True, return_inverse=True)
    return first[where.ravel()]
