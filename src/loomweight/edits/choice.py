"""Edits that keep some entries and set the others to 0: what they keep, worked out once, one bit an entry."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..weights import BLOCK, Block
from ..weights.spec import spans
from .only import only
from .power import of_magnitudes

_SPAN = BLOCK  # entries that are chosen from at once: a row's ranks take many small steps


@dataclass(frozen=True)
class Choice:
    """What an edit keeps of a tensor.

    Args:
        kept: (magnitudes of entries, flat position of the first) -> which of them are kept.
        row: it is asked about whole rows of so many entries.
    """

    kept: Callable[[Tensor, int], NDArray[np.bool_]]
    row: int = 1


@dataclass(frozen=True)
class Chosen:
    """What was kept of a tensor; `whole` and `left` are its sum of |x|^p before and after.

    >>> x = torch.tensor([3.0, -1.0])
    >>> chosen = choose(Choice(lambda sizes, first: sizes.numpy() > 2), lambda lo, hi: x[lo:hi], 2, p=1)
    >>> chosen.of(lambda lo, hi: x[lo:hi])(0, 2), chosen.whole, chosen.left
    (tensor([3., 0.]), 4.0, 3.0)
    """

    bits: NDArray[np.uint8]
    whole: float
    left: float

    def of(self, read: Block, factor: float = 1.0) -> Block:
        """The chosen entries times a factor, 0 for the others, in fresh memory."""

        def block(lo: int, hi: int) -> Tensor:
            kept = only(read(lo, hi), self._unpacked(lo, hi))
            return kept if factor == 1 else kept.mul_(factor)

        return block

    def _unpacked(self, lo: int, hi: int) -> Tensor:
        first = lo // 8
        return torch.from_numpy(np.unpackbits(self.bits[first : -(-hi // 8)])[lo - 8 * first : hi - 8 * first].view(np.bool_))


def choose(choice: Choice, read: Block, numel: int, p: int = 0) -> Chosen:
    """Pass over a tensor once; with p the sums are taken too. Rows come eight at a time, so that bytes are whole."""
    parts, whole, left = [np.empty(0, np.uint8)], 0.0, 0.0
    for lo, hi in spans(numel, choice.row * max(8, _SPAN // choice.row // 8 * 8)):
        sizes = read(lo, hi).abs()
        kept = choice.kept(sizes, lo)
        parts.append(np.packbits(kept))
        if p:
            whole += of_magnitudes(sizes, p)
            left += of_magnitudes(only(sizes, torch.from_numpy(kept)), p)
    return Chosen(np.concatenate(parts), whole, left)
