"""Round to a few levels and back.

Papers: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (2017,
https://arxiv.org/abs/1712.05877), equation 1; Robust Weight Signatures: Gaining Robustness as Easy as Patching Weights? (2023,
https://arxiv.org/abs/2302.12480), whose signatures are stored so.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..errors import BadParameter
from ..shapes import Float
from ..weights import BLOCK, Block, Spec
from ..weights.spec import spans
from .edit import Edit
from .ranges import one_of, within
from .rows import by_rows, width

# R rows, C columns, U units in a row, K entries in a unit: what shares one step


@dataclass(frozen=True)
class Quantise(Edit):
    """x -> s round(x / s), halves to even: what is left after storing x in `bits` bits.

    Symmetric: s = max|x| / (2^(bits-1) - 1), so that one of the 2^bits levels is unused and levels mirror each other. Else the
    levels lie from low = min(x, 0) to high = max(x, 0): s = (high - low) / (2^bits - 1), and they are shifted by whole steps, so
    that 0 is a level: x -> s (clamp(round(x / s) + z, 0, 2^bits - 1) - z) with z = round(-low / s). An entry moves by at most
    s / 2; zero stays zero. Done twice it is done once, save that shifted levels may move where both ends lie half a step off.

    Args:
        bits: from 2 to 16.
        by: what shares one step s: the "tensor", the "channel" (all entries of one index of the first axis; a vector is one
            channel), or a number of consecutive entries of a channel; the last such group of a channel may be shorter.
        symmetric: mirror the levels at 0.

    Raises:
        BadParameter: bits is out of range, or `by` is another word or below 1.

    >>> Quantise(2).apply(torch.tensor([-4.0, 1.0, 3.0]))
    tensor([-4.,  0.,  4.])
    """

    bits: int = 8
    by: Literal["tensor", "channel"] | int = "channel"
    symmetric: bool = True

    def __post_init__(self) -> None:
        within(self, "bits", 2, 16)
        if not isinstance(self.by, int):
            one_of(self, "by", ("tensor", "channel"))
        elif self.by < 1:
            raise BadParameter(f"Quantise: a group must have at least 1 entry, found by={self.by}.")

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Rows are read whole; a row that is longer than a block and has one step is measured now."""
        columns = spec.numel if self.by == "tensor" else width(spec)
        if isinstance(self.by, int) or columns <= BLOCK:
            unit = min(self.by, columns) if isinstance(self.by, int) else columns
            return by_rows(read, columns, lambda rows, first: self._by_units(rows, unit))
        ranges = [extremes(read, lo, hi) for lo, hi in spans(spec.numel, columns)]
        return lambda lo, hi: self._by_long_rows(read, columns, ranges, lo, hi)

    def _by_long_rows(self, read: Block, columns: int, ranges: list[tuple[Tensor, Tensor]], lo: int, hi: int) -> Float[Tensor, " n"]:
        parts = [(max(lo, row * columns), min(hi, (row + 1) * columns), row) for row in range(lo // columns, -(-hi // columns))]
        return torch.cat([self._rounded(read(a, b), *ranges[row]) for a, b, row in parts]) if parts else read(lo, hi)

    def _by_units(self, rows_RC: Float[Tensor, "r c"], unit: int) -> Float[Tensor, "r c"]:
        columns = rows_RC.shape[1]
        units_RUK = pad(rows_RC, (0, -columns % unit)).unflatten(1, (-1, unit))  # zeros change no range: it holds 0
        low, high = units_RUK.aminmax(dim=-1, keepdim=True)
        return self._rounded(units_RUK, low, high).flatten(1)[:, :columns]

    def _rounded(self, entries: Tensor, low: Tensor, high: Tensor) -> Tensor:
        low, high = low.clamp(max=0), high.clamp(min=0)
        levels = 2 ** (self.bits - self.symmetric) - 1
        step = (torch.maximum(-low, high) if self.symmetric else high - low) / levels
        step = torch.where(step > 0, step, 1.0)
        level = (entries / step).round_()
        if not self.symmetric:
            shift = (-low / step).round_()
            level = (level + shift).clamp_(0, levels) - shift
        return level.mul_(step)


def extremes(read: Block, lo: int, hi: int) -> tuple[Tensor, Tensor]:
    """The smallest and the largest entry of [lo, hi), block by block."""
    pairs = [read(lo + a, lo + b).aminmax() for a, b in spans(hi - lo)]
    return torch.stack([low for low, _ in pairs]).amin(), torch.stack([high for _, high in pairs]).amax()
