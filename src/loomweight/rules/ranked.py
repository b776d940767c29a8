"""Order statistics of weighted sets: sum_k v_k (G(c_k) - G(c_k-1)) over the values in ascending order, c_k their weights summed up.

G says what of the total weight counts: a step in its middle gives the weighted median, a ramp the weighted trimmed mean.
Weights are made whole numbers first, so that sums of weights are exact and a weight of 2 is the same as a set given twice.

Paper: Sorting networks and their applications (1968, https://doi.org/10.1145/1468075.1468121).
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import gcd, lcm

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float
from ..weights.spec import spans
from .network import HALVES, sorting

_CHUNK = 1 << 16
#: sums of weights stay below this; float64 holds them exactly
_LARGEST = 1 << 44


def masses(weights: Sequence[float]) -> tuple[int, ...]:
    """Whole numbers in the proportion of the weights, read as the decimals that they print as; beyond 2^44 they are rounded.

    >>> masses((0.1, 0.2, 0.5))
    (1, 2, 5)

    Raises:
        BadParameter: a weight is negative or not finite, or all are 0.
    """
    if min(weights) < 0 or not all(w < float("inf") for w in weights) or sum(weights) == 0:
        raise BadParameter(f"weights must be finite, at least 0 and not all 0, found {tuple(weights)}.")
    exact = [Fraction(repr(float(w))) for w in weights]
    scale = Fraction(lcm(*(w.denominator for w in exact)))
    if sum(exact) * scale >= _LARGEST:
        scale = (_LARGEST - len(exact)) / sum(exact)
    whole = [round(w * scale) for w in exact]
    return tuple(w // gcd(*whole) for w in whole)


def ranked_sum(rows: Sequence[Float[Tensor, " p"]], weights: Sequence[int], share: Callable[[Tensor], Tensor]) -> Float[Tensor, " p"]:
    """sum_k v_k (G(c_k) - G(c_k-1)), entry by entry, for whole weights; `share` is G: a fresh tensor out of the sums.

    >>> three = [torch.tensor([x]) for x in (5.0, 1.0, 9.0)]
    >>> ranked_sum(three, (1, 1, 2), lambda c: c / 4)
    tensor([6.])
    """
    kept = [i for i, weight in enumerate(weights) if weight]
    rows, weights = [rows[i].float() if rows[i].dtype in HALVES else rows[i] for i in kept], [weights[i] for i in kept]
    first = rows[0]
    exact = torch.float32 if sum(weights) < 1 << 24 and first.dtype == torch.float32 else torch.float64
    table = torch.tensor(weights, dtype=exact, device=first.device)
    result = torch.zeros_like(first)
    for lo, hi in spans(len(first), _CHUNK):
        here = result[lo:hi]
        mass = torch.zeros_like(here, dtype=exact)
        before = share(mass)
        for values, labels in zip(*_ordered([row[lo:hi] for row in rows]), strict=True):
            mass += torch.index_select(table, 0, labels.int())
            after = share(mass)
            here.addcmul_(values, before.neg_().add_(after).to(values.dtype))
            before = after
    return result


def _ordered(rows: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The rows sorted entry by entry, and for each value the number of the row that it came from: by comparators that carry both."""
    number = torch.uint8 if len(rows) < 256 else torch.int16
    values = list(rows)
    labels = [torch.full_like(row, i, dtype=number) for i, row in enumerate(rows)]
    for low, high, *_ in sorting(len(rows)):
        a, b = values[low], values[high]
        crossed = _greater(a, b).to(number).neg_()
        moved = (labels[low] ^ labels[high]).bitwise_and_(crossed)
        labels[low], labels[high] = labels[low] ^ moved, labels[high] ^ moved
        values[low], values[high] = torch.minimum(a, b), torch.maximum(a, b)
    return values, labels


def _greater(a: Tensor, b: Tensor) -> Tensor:
    """1 where a > b, else 0, in one byte each."""
    larger = torch.from_numpy(np.greater(a.numpy(), b.numpy())) if a.device.type == "cpu" else torch.gt(a, b)
    return larger.view(torch.uint8)
