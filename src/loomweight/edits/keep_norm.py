"""An edit that leaves the size of a tensor as it was."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from ..weights import Block, Spec, Weights
from ..weights.algebra import working
from ..weights.held import again, remembered
from ..weights.spec import spans
from .choice import choose
from .edit import Edit
from .power import power_of
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
        read = again(read)
        return self._scaled(name, spec, read, self.edit.bind)

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Find both norms of each tensor, the inner edit bound to the whole set."""
        shared = remembered(weights)
        inner = self.edit.over(shared)
        return lambda name: self._scaled(name, weights.spec[name], working(shared, name), lambda name, spec, read: inner(name))

    def _scaled(self, name: str, spec: Spec, before: Block, bind: Callable[[str, Spec, Block], Block]) -> Block:
        p = _POWER[self.norm]
        if choice := self.edit.choice(name, spec):
            chosen = choose(choice, before, spec.numel, p)
            return chosen.of(before, _factor(chosen.whole, chosen.left, p))
        after, whole, left = bind(name, spec, before), 0.0, 0.0
        for lo, hi in spans(spec.numel):
            whole += power_of(before(lo, hi), p)
            left += power_of(after(lo, hi), p)
        factor = _factor(whole, left, p)
        return lambda lo, hi: after(lo, hi) * factor


def _factor(whole: float, left: float, p: int) -> float:
    return (whole / left) ** (1 / p) if left else 1.0
