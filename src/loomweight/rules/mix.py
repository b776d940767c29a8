"""The fixed mix: one coefficient a set, the same for all entries."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..weights import Block
from .sets import Sets


def mixed(sets: Sets, coefficients: Sequence[float]) -> Callable[[str], Block]:
    """sum_i c_i w_i. Where the coefficients sum to 1 it is computed as w_0 + sum_i c_i (w_i - w_0).

    That form returns equal sets unchanged to the last bit and keeps small differences at full precision. Sets with
    coefficient 0 are not read.
    """
    used = [i for i, c in enumerate(coefficients) if c != 0] or [0]
    chosen = [float(coefficients[i]) for i in used]
    combined = _centred if abs(sum(chosen) - 1) < 1e-9 else _plain

    def open_(name: str) -> Block:
        reads = sets.reads(name)
        kept = [reads[i] for i in used]
        return lambda lo, hi: combined([read(lo, hi) for read in kept], chosen)

    return open_


def _centred(blocks: list[Tensor], coefficients: list[float]) -> Tensor:
    first, *rest = blocks
    if len(rest) == 1:
        return torch.lerp(first, rest[0], coefficients[1])
    total = first.clone()
    for block, coefficient in zip(rest, coefficients[1:], strict=True):
        total.add_(block - first, alpha=coefficient)
    return total


def _plain(blocks: list[Tensor], coefficients: list[float]) -> Tensor:
    total = blocks[0] * coefficients[0]
    for block, coefficient in zip(blocks[1:], coefficients[1:], strict=True):
        total.add_(block, alpha=coefficient)
    return total
