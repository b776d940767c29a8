"""Pointwise rules that work on the rows of the sets where they lie, without stacking them."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ..shapes import Float
from ..weights import BLOCK, Block
from ..weights.spec import spans
from .rule import Opener, Pointwise
from .sets import Sets

#: entries of all rows together that are read at once: 32 MiB of float32, whatever the number of sets
_AT_ONCE = 1 << 23


class Rowwise(Pointwise):
    """A pointwise rule given as a function of n rows of entries."""

    @abstractmethod
    def combined(self, rows: Sequence[Float[Tensor, " p"]]) -> Float[Tensor, " p"]:
        """One fresh row out of n. The rows may be the inputs themselves: never write into them."""

    def __call__(self, stack: Float[Tensor, "n *shape"]) -> Float[Tensor, "*shape"]:
        """Combine along the first axis; the stack is left as it is."""
        return self.combined(stack.reshape(len(stack), -1).unbind(0)).reshape(stack.shape[1:])

    def bind(self, sets: Sets) -> Opener:
        """Read a block of every set and combine it."""
        if sets.nonfinite == "mask":
            return super().bind(sets)
        self.check(len(sets))
        at_once = min(BLOCK, max(1 << 12, _AT_ONCE // len(sets)))

        def open_(name: str) -> Block:
            reads = sets.reads(name)

            def block(lo: int, hi: int) -> Tensor:
                if hi - lo <= at_once:
                    return self.combined([read(lo, hi) for read in reads])
                parts = [self.combined([read(lo + a, lo + b) for read in reads]) for a, b in spans(hi - lo, at_once)]
                return torch.cat(parts)

            return block

        return open_
