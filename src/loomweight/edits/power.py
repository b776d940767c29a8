"""Sums of powers of magnitudes."""

from math import inf

import torch
from torch import Tensor

from ..shapes import Float
from ..weights import Block
from ..weights.spec import spans

_RUN = 256


def power(read: Block, numel: int, p: int) -> float:
    """sum |x|^p, summed in float64."""
    return sum(power_of(read(lo, hi), p) for lo, hi in spans(numel))


def power_of(entries: Float[Tensor, " n"], p: int) -> float:
    """sum |x|^p of these entries."""
    return of_magnitudes(entries.abs() if p == 1 else entries, p)


def of_magnitudes(magnitudes: Float[Tensor, " n"], p: int) -> float:
    """sum x^p of entries that are at least 0; with p = 1 they are added in their own dtype by short runs, the runs in float64."""
    if p != 1:
        return float(torch.linalg.vector_norm(magnitudes, p, dtype=torch.float64)) ** p
    runs = magnitudes.reshape(-1, _RUN).sum(1) if len(magnitudes) % _RUN == 0 else magnitudes
    total = float(runs.sum(dtype=torch.float64))
    return total if total < inf else float(magnitudes.sum(dtype=torch.float64))
