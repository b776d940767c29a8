"""Pointwise rules that work on the rows of the sets where they lie, without stacking them."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..shapes import Float
from ..weights import Block
from ..weights.spec import spans
from .network import HALVES, at_once
from .rule import Opener, Pointwise
from .sets import Sets

#: entries of all sets together that are read at once: 32 MiB of float32, whatever the number of sets
_READ = 1 << 23


class Rowwise(Pointwise):
    """A pointwise rule given as a function of n rows of entries."""

    #: True for a rule that takes rows of bfloat16 or float16 as they are stored: to compare numbers it need not widen them
    takes_halves: ClassVar[bool] = False

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
        size = at_once(len(sets), _READ)

        def open_(name: str) -> Block:
            rows = self._rows(sets, name)

            def block(lo: int, hi: int) -> Tensor:
                if hi - lo <= size:
                    return self.combined(rows(lo, hi))
                return torch.cat([self.combined(rows(lo + a, lo + b)) for a, b in spans(hi - lo, size)])

            return block

        return open_

    def _rows(self, sets: Sets, name: str) -> Callable[[int, int], list[Tensor]]:
        """The tensor opened in every member, in working precision or in the same half."""
        if not self.takes_halves or any(weights.spec[name].dtype not in HALVES for weights in sets):
            reads = sets.reads(name)
            return lambda lo, hi: [read(lo, hi) for read in reads]
        stored = [weights.open(name) for weights in sets]

        def block(lo: int, hi: int) -> list[Tensor]:
            rows = [read(lo, hi) for read in stored]
            return rows if len({row.dtype for row in rows}) == 1 else [row.float() for row in rows]

        return block
