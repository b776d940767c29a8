"""A rule over sets that are first mixed with each other: m means of n sets in the place of the sets."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self, cast

import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float, Float64
from ..weights import Block
from ..weights.gram import gram as gram_of
from ..weights.spec import spans
from .mix import mixed
from .network import at_once
from .rule import Opener, Pointwise, Rule, Weighing
from .sets import Sets


@dataclass(frozen=True)
class Mixing(Rule):
    """`rule` over the sets M w, M being m x n with rows that sum to 1.

    For a weighing rule M turns the Gram matrix G into M G M^T and the coefficients c into M^T c: no mixed set is ever computed.
    """

    rule: Rule

    @abstractmethod
    def matrix(self, sets: Sets, gram: Callable[[], Float64[Tensor, "n n"]]) -> Float64[Tensor, "m n"]:
        """M; `gram()` reads all sets once."""

    @abstractmethod
    def mixed_sets(self, n: int) -> int:
        """m, for n sets."""

    def check(self, n: int) -> None:
        """Raise unless the rule is one that can be mixed for, and defined for m sets."""
        self.rule.check(self.mixed_sets(n))
        if not isinstance(self.rule, Weighing | Pointwise):
            raise BadParameter(f"{self}: {type(self.rule).__name__} is neither a weighing nor a pointwise rule; put the mixing inside it.")

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """Here and in the rule."""
        return replace(super().restricted(kept, n), rule=self.rule.restricted(kept, n))

    def bind(self, sets: Sets) -> Opener:
        """Read all sets once for the matrix where it or the rule needs distances; the result reads them once more."""
        self.check(len(sets))
        sets.refuse_mask(self)
        found: list[Tensor] = []

        def gram() -> Tensor:
            found.extend([] if found else [gram_of(sets.members)])
            return found[0]

        mixing = self.matrix(sets, gram)
        if isinstance(self.rule, Weighing):
            return mixed(sets, (mixing.T @ self.rule.coefficients(mixing @ gram() @ mixing.T)).tolist())
        return lambda name: self._mixed(mixing, sets.open(name))

    def _mixed(self, mixing: Float64[Tensor, "m n"], stack: Callable[[int, int], Float[Tensor, "n p"]]) -> Block:
        rule = cast(Pointwise, self.rule)

        def part(lo: int, hi: int) -> Tensor:
            rows = stack(lo, hi)
            return rule(mixing.to(rows.device, rows.dtype) @ rows)

        return lambda lo, hi: torch.cat([part(lo + a, lo + b) for a, b in spans(hi - lo, at_once(mixing.shape[1]))])
