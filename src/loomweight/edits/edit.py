"""What an edit is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

from torch import Tensor

from ..weights import Block, Spec, Weights
from ..weights.algebra import each, refuse_integers
from .choice import Choice


class Edit(ABC):
    """A pure function of (name, tensor), a frozen dataclass.

    `bind` may read the tensor (a threshold, a decomposition); the block that it returns gives any flat part of the result.
    Blocks of the input come in working precision and may be views: never write into them. Integer and boolean tensors have
    no arithmetic and are refused: leave them out with `select`, or edit the others with `Where`.
    """

    @abstractmethod
    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """The edited tensor, opened."""

    def choice(self, name: str, spec: Spec) -> Choice | None:
        """What the edit keeps, where all it does is to set the other entries to 0 and each block tells which; None otherwise."""
        return None

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """The edited tensors of a set, by name. An edit that looks at several tensors at once says here what becomes of them."""
        refuse_integers(weights)
        return each(weights, self.bind)

    def __call__(self, weights: Weights) -> Weights:
        """The edited weight set, lazily."""
        return weights.map(self)

    def apply(self, tensor: Tensor, name: str = "") -> Tensor:
        """The edit of one tensor in memory."""
        weights = Weights.of({name: tensor})
        return self(weights)[name]

    def on_stream(self, stream: int) -> Self:
        """The same edit for the `stream`-th of several sets: random edits draw other numbers there, the rest stay as they are."""
        return self

    def restricted(self, kept: Sequence[int]) -> Self:
        """The same edit when only the sets `kept` of several are left: what belongs to a set goes with it."""
        return self
