"""Middle order statistics of n rows by comparator networks: exact, branch-free, one instruction stream for all entries.

A network is a fixed list of comparators: (i, j) puts the smaller of two wires on i and the larger on j. The pairwise network
sorts n wires with about n log2(n)^2 / 4 of them, as many as Batcher's odd-even merge sort, and more of it can be left out: of
the 382 operations that sort 32 rows, the median needs 258 (Batcher's: 282). A comparator between two wires that end in the same
group (both dropped, or both in the same mean) changes nothing, and of one that only hands on its smaller or larger value the
other half is not computed. What is left runs as minimum and maximum over chunks that fit the cache, in scratch rows that are used
again as soon as they are free; on the CPU by numpy, whose calls cost less than torch's, so that chunks may be smaller. The inputs
are read, never written.

Papers: The pairwise sorting network (1992, https://doi.org/10.1142/S0129626492000337); Sorting networks and their applications
(1968, https://doi.org/10.1145/1468075.1468121).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..shapes import Float
from ..weights import BLOCK
from ..weights.spec import spans

#: above this many rows, sorting transposed chunks is faster than a network
WIDEST = 96
#: entries of all rows together that are worked on at once: enough to hide the cost of a call, few enough for the cache
_AT_ONCE = 1 << 19
_AT_ONCE_HALVES = 1 << 20
_SORTED_AT_ONCE = 1 << 12
HALVES = (torch.bfloat16, torch.float16)
#: writes a result from the rows that a network gives, in working precision
Finish = Callable[[list[Tensor], Tensor], None]


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
    """Parberry's pairwise sorting network; wires beyond n hold the largest values from the start and are left out.

    >>> [(c.low, c.high) for c in sorting(3)]
    [(0, 1), (0, 2), (1, 2)]
    """
    width = 1 << (n - 1).bit_length()
    powers = [1 << k for k in range(width.bit_length() - 1)]
    found = [Comparator(i, i + d) for d in powers for i in range(n - d) if not i & d]
    for grain in reversed(powers[:-1]):
        reach = width // (2 * grain) - 1
        while reach:
            found += [Comparator(i, i + reach * grain) for i in range(n - reach * grain) if i & grain]
            reach //= 2
    return found


def pruned(n: int, first: int, end: int, exact: Collection[int] = ()) -> list[Comparator]:
    """The comparators needed to bring the values of rank first ... end - 1 onto those wires, in any order but for the ranks `exact`.

    >>> len(sorting(9)), len(pruned(9, 4, 5)), len(pruned(9, 1, 8))
    (26, 22, 20)
    """
    fate = ["ranked" if wire in exact else "wanted" if first <= wire < end else "dropped" for wire in range(n)]
    found = []
    for low, high, *_ in reversed(sorting(n)):
        if fate[low] == fate[high] != "ranked":
            continue
        found.append(Comparator(low, high, fate[low] != "dropped", fate[high] != "dropped"))
        fate[low] = fate[high] = "ranked"
    return found[::-1]


@lru_cache(maxsize=256)
def program(n: int, first: int, end: int, exact: frozenset[int] = frozenset()) -> Program:
    """The pruned network in registers: 0 ... n - 1 are the inputs, the rest is scratch."""
    at, free, steps = list(range(n)), [], []
    count = n
    for low, high, keep_low, keep_high in pruned(n, first, end, exact):
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
    """Entry by entry, the mean of the values of rank first ... end - 1 (from 0, ascending), in working precision.

    Rows that are all bfloat16 or all float16 are compared as whole numbers of 16 bits, which is twice as fast.

    >>> middle_mean([torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([8.0])], 1, 2)
    tensor([3.])
    """
    return ranked(rows, first, end, averaged)


def ranked(rows: Sequence[Float[Tensor, " p"]], first: int, end: int, finish: Finish, exact: frozenset[int] = frozenset()) -> Float[Tensor, " p"]:
    """What `finish` makes of the values of rank first ... end - 1, chunk by chunk: it is given a row for each, of which those in `exact` are in their place."""
    half = rows[0].dtype if rows[0].dtype in HALVES else None
    if len(rows) > WIDEST:
        return _by_sorting([row.float() for row in rows] if half else rows, first, end, finish)
    plan = program(len(rows), first, end, exact)
    result = torch.empty_like(rows[0], dtype=torch.float32 if half else None)
    (_here if result.device.type == "cpu" else _elsewhere)(plan, rows, half, result, finish)
    return result


def _here(plan: Program, rows: Sequence[Tensor], half: torch.dtype | None, result: Tensor, finish: Finish) -> None:
    """By numpy, chunk by chunk."""
    chunk = max(1, min(at_once(len(rows), _AT_ONCE_HALVES if half else _AT_ONCE), len(result)))
    whole = [row.view(torch.int16).numpy() if half else row.numpy() for row in rows]
    scratch = [np.empty(chunk, whole[0].dtype) for _ in range(plan.scratch + (len(rows) if half else 0))]
    for lo, hi in spans(len(result), chunk):
        free = [row[: hi - lo] for row in scratch]
        inputs = [_turned(row[lo:hi], free.pop()) if half else row[lo:hi] for row in whole]
        registers = [*inputs, *free]
        for larger, a, b, out in plan.steps:
            (np.maximum if larger else np.minimum)(registers[a], registers[b], out=registers[out])
        finish(_widened([torch.from_numpy(registers[i]) for i in plan.outputs], half), result[lo:hi])


def _elsewhere(plan: Program, rows: Sequence[Tensor], half: torch.dtype | None, result: Tensor, finish: Finish) -> None:
    """On an accelerator, whole rows."""
    registers = [_ordinal(row) if half else row for row in rows]
    registers += [torch.empty_like(registers[0]) for _ in range(plan.scratch)]
    for larger, a, b, out in plan.steps:
        (torch.maximum if larger else torch.minimum)(registers[a], registers[b], out=registers[out])
    finish(_widened([registers[i] for i in plan.outputs], half), result)


def _widened(outputs: list[Tensor], half: torch.dtype | None) -> list[Tensor]:
    return [_ordinal(row).view(half).float() if half else row for row in outputs]


def _ordinal(row: Tensor) -> Tensor:
    """Numbers of 16 bits as whole numbers in the same order, or back: of a negative one all bits but the sign are turned."""
    bits = row.view(torch.int16)
    return (bits >> 15).bitwise_and_(0x7FFF).bitwise_xor_(bits)


def _turned(bits: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The same in numpy, into memory that is there."""
    np.right_shift(bits, 15, out=out)
    np.bitwise_and(out, 0x7FFF, out=out)
    return np.bitwise_xor(out, bits, out=out)


def at_once(n: int, together: int = _AT_ONCE) -> int:
    """Entries of each of n rows that are worked on at once, a power of two.

    >>> at_once(8), at_once(30)
    (65536, 16384)
    """
    return min(BLOCK, max(1 << 12, 1 << (together // n).bit_length() - 1))


def averaged(rows: Sequence[Float[Tensor, " p"]], out: Float[Tensor, " p"]) -> None:
    """Write the mean of the rows; large values do not overflow on the way."""
    torch.mul(rows[0], 1 / len(rows), out=out)
    for row in rows[1:]:
        out.add_(row, alpha=1 / len(rows))


def _by_sorting(rows: Sequence[Tensor], first: int, end: int, finish: Finish) -> Tensor:
    """The same by sorting the n values of each entry; numpy sorts short rows with vector instructions, torch does not."""
    result = torch.empty_like(rows[0])
    for lo, hi in spans(len(result), _SORTED_AT_ONCE):
        values_PN = torch.stack([row[lo:hi] for row in rows]).T.contiguous()
        if values_PN.device.type == "cpu":
            values_PN.numpy().sort(axis=1)
        else:
            values_PN = values_PN.sort(dim=1).values
        if finish is averaged:
            result[lo:hi] = values_PN[:, first:end].mean(dim=1)
        else:
            finish(list(values_PN[:, first:end].T.contiguous()), result[lo:hi])
    return result
