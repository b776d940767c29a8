"""What a rule is: n weight sets -> one. Three shapes, one abstract method each.

A rule is a frozen dataclass: its repr is its recipe, its fields are the options of the command line. It never sees an
architecture, a file, a client or a device.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..errors import TooFewSets
from ..shapes import Float, Float64
from ..weights import Block, Weights
from ..weights.gram import gram
from .masked import by_finite_sets
from .mix import mixed
from .sets import Sets

#: name of a physical tensor -> that tensor of the result, opened
Opener = Callable[[str], Block]


class Rule(ABC):
    """Combines weight sets that agree in names and shapes.

    `bind` may read whatever it needs of all sets (a Gram matrix); the opener that it returns may read one whole tensor (a
    threshold); the block that this returns reads just its entries.
    """

    #: the fewest sets the rule is defined for
    fewest: ClassVar[int] = 1

    @abstractmethod
    def bind(self, sets: Sets) -> Opener:
        """The result, by tensor name. Only floating tensors ever get here."""

    def check(self, n: int) -> None:
        """Raise where the rule is not defined for `n` sets; a rule with parameters that depend on n extends it."""
        if n < self.fewest:
            raise TooFewSets(f"{self} needs at least {self.fewest} weight set{'s' * (self.fewest > 1)}, got {n}.")
        weights = getattr(self, "weights", None)
        if weights is not None and len(weights) != n:
            raise TooFewSets(f"{self} has {len(weights)} weights for {n} weight sets; give one for each.")

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """The same rule when only the sets `kept` of `n` are left: `weights` follow, and a lost set counts against `f`."""
        changes: dict[str, Any] = {}
        if getattr(self, "weights", None) is not None:
            changes["weights"] = tuple(getattr(self, "weights")[i] for i in kept)  # noqa: B009
        if hasattr(self, "f"):
            changes["f"] = max(0, getattr(self, "f") - (n - len(kept)))  # noqa: B009
        return replace(self, **changes) if changes else self  # type: ignore[type-var]


class Pointwise(Rule):
    """A rule that treats every entry alone: a stack of n values in, one value out."""

    @abstractmethod
    def __call__(self, stack: Float[Tensor, "n *shape"]) -> Float[Tensor, "*shape"]:
        """Combine along the first axis. The stack is the caller's own: it may be overwritten by `bind`'s use of it, never kept."""

    def bind(self, sets: Sets) -> Opener:
        """Stack the blocks of all sets and combine them."""
        self.check(len(sets))

        def open_(name: str) -> Block:
            stack = sets.open(name)
            if sets.nonfinite == "mask":
                return lambda lo, hi: by_finite_sets(self, stack(lo, hi), name)
            return lambda lo, hi: self(stack(lo, hi))

        return open_


class Weighing(Rule):
    """A rule that looks at inner products only: the Gram matrix of the sets in, one coefficient a set out; the mix is fixed."""

    @abstractmethod
    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """The coefficient of each set."""

    def coefficients_of_each(self, grams: Float64[Tensor, "k n n"]) -> Float64[Tensor, "k n"]:
        """The coefficients for each of many Gram matrices."""
        return torch.stack([self.coefficients(gram) for gram in grams])

    def bind(self, sets: Sets) -> Opener:
        """Read all sets once for the Gram matrix; the result reads them a second time. So the sets cannot be pushed one at a time."""
        self.check(len(sets))
        sets.refuse_mask(self)
        return mixed(sets, self.coefficients(gram(sets.members)).tolist())

    def bind_around(self, base: Weights, sets: Sets, scale: float) -> Opener:
        """base + scale * (this rule of the differences from it): the base, too, is read twice, not once for each difference."""
        self.check(len(sets))
        sets.refuse_mask(self)
        everyone = gram((base, *sets))
        differences = everyone[1:, 1:] - everyone[1:, :1] - everyone[:1, 1:] + everyone[0, 0]
        factors = [scale * factor for factor in self.coefficients(differences).tolist()]
        return mixed(Sets((base, *sets)), [1 - sum(factors), *factors])
