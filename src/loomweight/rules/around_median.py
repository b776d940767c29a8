"""Values near the median, entry by entry: what Meamed averages, and the second half of Bulyan.

The k values nearest to the median m stand side by side in ascending order x_0, x_1, ... So start with x_0 ... x_k-1 and, for
j = 0, 1, ..., let x_k+j take the place of x_j (or of what took the place of x_j) where it is nearer to m. That needs the sorted
values of a comparator network and a few operations for each value left out, no index and no search; values of the middle that
no step compares need not be in order.

Paper: Sorting networks and their applications (1968, https://doi.org/10.1145/1468075.1468121).
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ..shapes import Float
from .network import averaged, ranked


def near_the_median(rows: Sequence[Float[Tensor, " p"]], keep: int) -> Float[Tensor, " p"]:
    """For each entry the mean of the `keep` values nearest to the median (of an even number, to the mean of the middle two).

    Two values that are equally near and compete for the last place share it.

    >>> near_the_median([torch.tensor([x]) for x in (1.0, 2.0, 4.0, 50.0, -9.0)], 3)
    tensor([2.3333])
    """
    n = len(rows)
    if keep == n:
        return ranked(rows, 0, n, averaged)
    ends = set(range(n - keep)) | set(range(keep, n)) | {(n - 1) // 2, n // 2}
    return ranked(rows, 0, n, partial(_finish, keep=keep), frozenset(ends))


def _finish(values: list[Tensor], out: Tensor, keep: int) -> None:
    n = len(values)
    middle = values[n // 2] if n % 2 else torch.lerp(values[n // 2 - 1], values[n // 2], 0.5)
    kept = values[:keep]
    for j in range(n - keep):
        low, high = kept[j % keep], values[keep + j]
        below, above = middle - low, high - middle
        nearer = torch.where(below > above, high, low)
        equal = below == above
        kept[j % keep] = torch.where(equal, (low + high) / 2, nearer) if equal.any() else nearer
    averaged(kept, out)
