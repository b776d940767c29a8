"""Middle order statistics of n rows by comparator networks: exact, branch-free, one instruction stream for all entries.

A network is a fixed list of comparators: (i, j) puts the smaller of two wires on i and the larger on j. Batcher's merge
exchange sorts n wires with about n log2(n)^2 / 4 of them. What the wanted outputs do not need is left out: a comparator
between two wires that end in the same group (both dropped, or both in the same mean) changes nothing, and of one that only
hands on its smaller or larger value the other half is not computed. What is left runs as torch.minimum and torch.maximum over
chunks that fit the cache, in scratch rows that are used again as soon as they are free. The inputs are read, never written.

Paper: Sorting networks and their applications (1968, https://doi.org/10.1145/1468075.1468121).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..shapes import Float
from ..weights.spec import spans

#: above this many rows, sorting transposed chunks is faster than a network
WIDEST = 96
#: entries of one row that are worked on at once
CHUNK = 1 << 15
_SORTED_AT_ONCE = 1 << 12


class Comparator(NamedTuple):
    """Smaller value to wire `low`, larger to wire `high`; a flag says whether that value is needed."""

    low: int
    high: int
    keep_low: bool = True
    keep_high: bool = True


class Step(NamedTuple):
    """out = minimum or maximum of registers a and b. Registers below n are the inputs."""

    larger: bool
    a: int
    b: int
    out: int


@dataclass(frozen=True)
class Program:
    """A network laid out in registers."""

    steps: tuple[Step, ...]
    scratch: int
    outputs: tuple[int, ...]


def sorting(n: int) -> list[Comparator]:
    """Batcher's merge exchange for any n (Knuth, The Art of Computer Programming 3, algorithm 5.2.2M).

    >>> [(c.low, c.high) for c in sorting(3)]
    [(0, 2), (0, 1), (1, 2)]
    """
    found = []
    p = top = 1 << ((n - 1).bit_length() - 1) if n > 1 else 0
    while p:
        q, r, d = top, 0, p
        while d:
            found += [Comparator(i, i + d) for i in range(n - d) if i & p == r]
            d, r, q = q - p, p, q // 2
        p //= 2
    return found


def pruned(n: int, first: int, end: int) -> list[Comparator]:
    """The comparators needed to bring the values of rank first ... end - 1 onto those wires, in any order among themselves.

    >>> len(sorting(9)), len(pruned(9, 4, 5)), len(pruned(9, 1, 8))
    (26, 22, 20)
    """
    fate = ["wanted" if first <= wire < end else "dropped" for wire in range(n)]
    found = []
    for low, high, *_ in reversed(sorting(n)):
        if fate[low] == fate[high] != "ranked":
            continue
        found.append(Comparator(low, high, fate[low] != "dropped", fate[high] != "dropped"))
        fate[low] = fate[high] = "ranked"
    return found[::-1]


@lru_cache(maxsize=256)
def program(n: int, first: int, end: int) -> Program:
    """The pruned network in registers: 0 ... n - 1 are the inputs, the rest is scratch."""
    at, free, steps = list(range(n)), [], []
    count = n
    for low, high, keep_low, keep_high in pruned(n, first, end):
        a, b = at[low], at[high]
        own = [register for register in (a, b) if register >= n]
        if keep_low and keep_high:
            if not free:
                free, count = [count], count + 1
            at[low] = free.pop()
            steps.append(Step(False, a, b, at[low]))
        if not own:
            own = [free.pop()] if free else [count]
            count = max(count, own[0] + 1)
        out = own.pop()
        free += own
        steps.append(Step(keep_high, a, b, out))
        at[high if keep_high else low] = out
    return Program(tuple(steps), count - n, tuple(at[first:end]))


def middle_mean(rows: Sequence[Float[Tensor, " p"]], first: int, end: int) -> Float[Tensor, " p"]:
    """Entry by entry, the mean of the values of rank first ... end - 1 (from 0, ascending).

    >>> middle_mean([torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([8.0])], 1, 2)
    tensor([3.])
    """
    if len(rows) > WIDEST:
        return _by_sorting(rows, first, end)
    plan = program(len(rows), first, end)
    result = torch.empty_like(rows[0])
    chunk = min(CHUNK, len(result)) if result.device.type == "cpu" else max(len(result), 1)
    scratch = [result.new_empty(chunk) for _ in range(plan.scratch)]
    for lo, hi in spans(len(result), chunk or 1):
        registers = [row[lo:hi] for row in rows] + [row[: hi - lo] for row in scratch]
        for larger, a, b, out in plan.steps:
            (torch.maximum if larger else torch.minimum)(registers[a], registers[b], out=registers[out])
        averaged([registers[i] for i in plan.outputs], result[lo:hi])
    return result


def averaged(rows: Sequence[Float[Tensor, " p"]], out: Float[Tensor, " p"]) -> None:
    """Write the mean of the rows; large values do not overflow on the way."""
    torch.mul(rows[0], 1 / len(rows), out=out)
    for row in rows[1:]:
        out.add_(row, alpha=1 / len(rows))


def _by_sorting(rows: Sequence[Tensor], first: int, end: int) -> Tensor:
    """The same by sorting the n values of each entry; numpy sorts short rows with vector instructions, torch does not."""
    result = torch.empty_like(rows[0])
    for lo, hi in spans(len(result), _SORTED_AT_ONCE):
        values_PN = torch.stack([row[lo:hi] for row in rows]).T.contiguous()
        if values_PN.device.type == "cpu":
            values_PN.numpy().sort(axis=1)
        else:
            values_PN = values_PN.sort(dim=1).values
        result[lo:hi] = values_PN[:, first:end].mean(dim=1)
    return result
