"""Edits that look at whole rows."""

from collections.abc import Callable
from math import prod

from torch import Tensor

from ..shapes import Float
from ..weights import Block, Spec

#: (whole rows, index of the first) -> as many rows
Change = Callable[[Tensor, int], Tensor]


def width(spec: Spec) -> int:
    """Entries of a row: all that belong to one index of the first axis; a vector is one row.

    >>> import torch
    >>> width(Spec((8, 4, 3, 3), torch.float32)), width(Spec((8,), torch.float32))
    (36, 8)
    """
    return prod(spec.shape[1:]) if len(spec.shape) > 1 else spec.numel


def by_rows(read: Block, columns: int, change: Change) -> Block:
    """Change whole rows and cut out what is asked for; rows at the edges are read whole."""
    return lambda lo, hi: _cut(read, columns, change, lo, hi)


def _cut(read: Block, columns: int, change: Change, lo: int, hi: int) -> Float[Tensor, " n"]:
    if hi == lo:
        return read(lo, hi)
    first, last = lo // columns, -(-hi // columns)
    rows = read(first * columns, last * columns).reshape(-1, columns)
    return change(rows, first).reshape(-1)[lo - first * columns : hi - first * columns]
