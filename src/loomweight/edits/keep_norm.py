"""An edit that leaves the size of a tensor as it was."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from ..weights import Block, Spec, Weights
from ..weights.algebra import working
from .clip import power
from .edit import Edit
from .ranges import one_of

_POWER = {"l1": 1, "l2": 2}


@dataclass(frozen=True)
class KeepNorm(Edit):
    """y = edit(x) -> y ||x|| / ||y||, tensor by tensor: what an edit takes away is given to the entries that are left.

    This is mergekit's `rescale: true` with norm "l1", except that mergekit leaves a tensor unscaled where a norm is below
    1e-7, and this where ||y|| is 0. The norms are summed in float64.

    Args:
        edit: the edit whose result is rescaled.
        norm: "l1", the sum of magnitudes, or "l2".

    Raises:
        BadParameter: norm is another word.

    >>> import torch
    >>> from loomweight.edits import Trim
    >>> KeepNorm(Trim(0.5)).apply(torch.tensor([1.0, -3.0, 4.0, 2.0]))
    tensor([ 0.0000, -4.2857,  5.7143,  0.0000])
    """

    edit: Edit
    norm: Literal["l1", "l2"] = "l1"

    def __post_init__(self) -> None:
        one_of(self, "norm", tuple(_POWER))

    def on_stream(self, stream: int) -> Self:
        """The inner edit on that stream."""
        return replace(self, edit=self.edit.on_stream(stream))

    def restricted(self, kept: Sequence[int]) -> Self:
        """The inner edit restricted."""
        return replace(self, edit=self.edit.restricted(kept))

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Find both norms."""
        return self._scaled(read, self.edit.bind(name, spec, read), spec.numel)

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Find both norms of each tensor, the inner edit bound to the whole set."""
        inner = self.edit.over(weights)
        return lambda name: self._scaled(working(weights, name), inner(name), weights.spec[name].numel)

    def _scaled(self, before: Block, after: Block, numel: int) -> Block:
        p = _POWER[self.norm]
        left = power(after, numel, p)
        factor = (power(before, numel, p) / left) ** (1 / p) if left else 1.0
        return lambda lo, hi: after(lo, hi) * factor
