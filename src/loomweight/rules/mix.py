"""The fixed mix: one coefficient a set, the same for all entries."""

from collections.abc import Callable, Iterator, Sequence
from math import copysign

import torch
from torch import Tensor

from ..weights import Block
from .sets import Sets

_NOISE = 1e-12
_CLOSE = 1e-3


def mixed(sets: Sets, coefficients: Sequence[float]) -> Callable[[str], Block]:
    """sum_i c_i w_i. Where the coefficients sum to about 1 it is computed as s (w_k + sum_i (c_i / s) (w_i - w_k)), s = sum_i c_i.

    Where s is visibly not 1 it is s w_k + sum_i c_i (w_i - w_k): no quotient then rounds what c_i keeps exact. Both forms
    return equal sets unchanged to the last bit where s is 1, keep small differences at full precision, and round values that
    lie between two numbers of the stored dtype as the exact formula does. w_k has the largest coefficient: an outlier that
    was given next to nothing is not what the others are measured from. Sets with coefficient 0 are not read.
    """
    used = sorted((i for i, c in enumerate(coefficients) if c != 0), key=lambda i: -abs(coefficients[i])) or [0]
    chosen = [float(coefficients[i]) for i in used]
    total = sum(chosen)
    near = abs(total - 1) < 0.5
    close = abs(total - 1) < _CLOSE
    shares = [c / total for c in chosen] if close else chosen

    def open_(name: str) -> Block:
        reads = sets.reads(name)
        kept = [reads[i] for i in used]
        if not near:
            return lambda lo, hi: _plain((read(lo, hi) for read in kept), shares)
        if not close:
            return lambda lo, hi: _scaled((read(lo, hi) for read in kept), shares, total)
        excess = _visible(total - 1, sets.work(name), sets.spec(name).dtype)
        return lambda lo, hi: _centred((read(lo, hi) for read in kept), shares, excess)

    return open_


def _visible(excess: float, work: torch.dtype, stored: torch.dtype) -> float:
    """What a sum of coefficients exceeds 1 by, where the dtype of arithmetic can tell.

    Many means of two narrow numbers lie halfway between two others. A factor of 1 + 1e-9 then decides the rounding, so for
    a narrower result an excess that arithmetic cannot see is enlarged to one that it can.
    """
    smallest = torch.finfo(work).eps
    if abs(excess) >= smallest or abs(excess) < _NOISE:
        return excess if abs(excess) >= smallest else 0.0
    return copysign(smallest, excess) if stored.itemsize < work.itemsize else excess


def _centred(blocks: Iterator[Tensor], shares: list[float], excess: float) -> Tensor:
    """Each block is used when it has come and let go: three are there at a time, however many sets there are."""
    first = next(blocks)
    total = torch.lerp(first, next(blocks), shares[1]) if len(shares) > 1 else first.clone()
    for block, share in zip(blocks, shares[2:], strict=True):
        total.add_(block - first, alpha=share)
    return total.add_(total, alpha=excess) if excess else total


def _scaled(blocks: Iterator[Tensor], coefficients: list[float], factor: float) -> Tensor:
    first = next(blocks)
    total = first * factor
    for block, coefficient in zip(blocks, coefficients[1:], strict=True):
        total.add_(block - first, alpha=coefficient)
    return total


def _plain(blocks: Iterator[Tensor], coefficients: list[float]) -> Tensor:
    total = next(blocks) * coefficients[0]
    for block, coefficient in zip(blocks, coefficients[1:], strict=True):
        total.add_(block, alpha=coefficient)
    return total
