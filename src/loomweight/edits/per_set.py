"""Another edit for each of several sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ..errors import BadParameter
from ..weights import Block, Spec
from .edit import Edit


@dataclass(frozen=True)
class PerSet(Edit):
    """`edits[i]` for the i-th of several sets: a density for every model, say. A rule that has sets, `Around`, picks.

    Args:
        edits: one for each set, in their order.

    Raises:
        BadParameter: there are more sets than edits, or it is used without sets.

    >>> import torch
    >>> from loomweight.edits import Scale
    >>> PerSet((Scale(2.0), Scale(3.0))).on_stream(1).apply(torch.tensor([1.0]))
    tensor([3.])
    """

    edits: tuple[Edit, ...]

    def on_stream(self, stream: int) -> Edit:  # type: ignore[override]
        """The edit of the `stream`-th set, on that stream."""
        if stream >= len(self.edits):
            raise BadParameter(f"PerSet has {len(self.edits)} edits, but there is a set number {stream + 1}; give one for each set.")
        return self.edits[stream].on_stream(stream)

    def restricted(self, kept: Sequence[int]) -> Self:
        """The edits of the sets that are left."""
        return type(self)(tuple(self.edits[i] for i in kept))

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Never reached through a rule: it picks with `on_stream` first."""
        raise BadParameter(f"{self} says what to do with each of several sets; pick one with on_stream(i).")
