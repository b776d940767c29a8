"""Work on differences from a base: task vectors.

Paper: Editing Models with Task Arithmetic (2022, https://arxiv.org/abs/2212.04089).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Self

import torch

from ..edits import Edit
from ..weights import Block, Weights
from ..weights.algebra import keep, subtract, working
from ..weights.held import remembered
from .rule import Opener, Rule, Weighing
from .sets import Sets, guarded


@dataclass(frozen=True)
class Around(Rule):
    """base + scale * rule(edits(w_i - base)).

    Args:
        base: the set that all sets were fine-tuned from.
        rule: combines the edited differences.
        edits: applied to every difference, in this order; random edits draw other numbers for every set.
        scale: the factor of the combined difference (lambda).

    Where entries are masked, a masked entry of a set is the base's: that set has no opinion there.

    >>> from loomweight.rules import Mean, combine
    >>> zero = {"w": torch.zeros(2)}
    >>> combine([{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([3.0, 0.0])}], Around(Weights.of(zero), Mean(), scale=0.5))["w"]
    tensor([1., 0.])
    """

    base: Weights
    rule: Rule
    edits: tuple[Edit, ...] = ()
    scale: float = 1.0

    def check(self, n: int) -> None:
        """As the inner rule."""
        self.rule.check(n)

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """The inner rule and the edits restricted."""
        return replace(self, rule=self.rule.restricted(kept, n), edits=tuple(edit.restricted(kept) for edit in self.edits))

    def bind(self, sets: Sets) -> Opener:
        """Bind the inner rule to the edited differences; the base is added again block by block."""
        base = guarded(keep(self.base, sets.names))
        if isinstance(self.rule, Weighing) and not self.edits:
            return self.rule.bind_around(base, sets, self.scale)
        base = remembered(base)
        members = tuple(_mended(w, base) for w in sets) if sets.nonfinite == "mask" else sets.members
        deltas = Sets(members).each(lambda i, w: reduce(lambda d, edit: edit.on_stream(i)(d), self.edits, subtract(w, base)))
        inner = self.rule.bind(deltas)

        def open_(name: str) -> Block:
            start, move = working(base, name), inner(name)
            return lambda lo, hi: torch.add(start(lo, hi), move(lo, hi), alpha=self.scale)

        return open_


def _mended(weights: Weights, base: Weights) -> Weights:
    """The set with the base's value wherever its own is not finite."""

    def open_(name: str) -> Block:
        read, instead = working(weights, name), working(base, name)

        def block(lo: int, hi: int) -> torch.Tensor:
            entries = read(lo, hi)
            return entries if torch.isfinite(entries.sum()) else torch.where(torch.isfinite(entries), entries, instead(lo, hi))

        return block

    return Weights(weights.spec, open_, ties=weights.ties, origin=("mended", weights, base), label=weights.label, sources=weights.sources)
