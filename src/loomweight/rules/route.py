"""A rule for each pattern of names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from ..errors import UnknownName, unknown
from ..weights import matches
from ..weights.names import listed
from .rule import Opener, Rule
from .sets import Sets


@dataclass(frozen=True)
class Route(Rule):
    """The first pattern that a tensor's name matches gives its rule.

    Every pattern must match a tensor that no pattern before it took, and every tensor must match a pattern.

    Args:
        table: (pattern, rule) pairs; `*` is any run of characters.

    >>> import torch
    >>> from loomweight.rules import Mean, Take, combine
    >>> sets = [{"body.w": torch.tensor([1.0]), "head.w": torch.tensor([1.0])}, {"body.w": torch.tensor([3.0]), "head.w": torch.tensor([3.0])}]
    >>> dict(combine(sets, Route((("head.*", Take(0)), ("*", Mean())))).items())
    {'body.w': tensor([2.]), 'head.w': tensor([1.])}
    """

    table: tuple[tuple[str, Rule], ...]

    def check(self, n: int) -> None:
        """As every rule of the table."""
        for _, rule in self.table:
            rule.check(n)

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """Every rule of the table restricted."""
        return replace(self, table=tuple((pattern, rule.restricted(kept, n)) for pattern, rule in self.table))

    def bind(self, sets: Sets) -> Opener:
        """Bind every rule to the tensors that it gets."""
        self.check(len(sets))
        left = list(sets.names)
        openers: dict[str, Opener] = {}
        for pattern, rule in self.table:
            mine = [name for name in left if matches(pattern, name)]
            if not mine:
                raise unknown("tensor left that matches", pattern, left)
            openers |= dict.fromkeys(mine, rule.bind(sets.only(mine)))
            left = [name for name in left if name not in openers]
        if left:
            raise UnknownName(f"no pattern of {[pattern for pattern, _ in self.table]} matches {listed(left)}; end the table with ('*', rule).")
        return lambda name: openers[name](name)
