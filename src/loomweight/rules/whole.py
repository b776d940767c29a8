"""Rules that need a whole tensor of every set at once: decompositions and solves."""

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from ..shapes import Float
from ..weights import Block
from .rule import Opener, Rule
from .sets import Sets


@dataclass(frozen=True)
class Whole(Rule):
    """A rule of the third shape. Opening a tensor of the result reads it from all sets: n tensors of memory in working precision."""

    @abstractmethod
    def merge(self, name: str, stack: Float[Tensor, "n *shape"]) -> Float[Tensor, "*shape"]:
        """The tensor of the result."""

    def bind(self, sets: Sets) -> Opener:
        """Merge a tensor when it is opened."""
        self.check(len(sets))
        sets.refuse_mask(self)

        def open_(name: str) -> Block:
            spec = sets.spec(name)
            stack = sets.open(name)(0, spec.numel).reshape(len(sets), *spec.shape)
            flat = self.merge(name, stack).reshape(-1)
            return lambda lo, hi: flat[lo:hi]

        return open_
