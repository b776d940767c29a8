"""A merge method as a recipe sees it: what it may be told, what it needs, and the rule that the numbers make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ..errors import unknown
from ..rules import Rule
from ..weights import Weights
from .marks import Place
from .parameter import Number, Parameter


@dataclass(frozen=True)
class Numbers:
    """Every number of a method for one tensor.

    Args:
        shared: parameter -> value.
        each: parameter -> one value for each set that the rule is given, in order.
    """

    shared: Mapping[str, Number]
    each: Mapping[str, tuple[Number, ...]]

    def __getitem__(self, name: str) -> Number:
        return self.shared[name]

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What tells these numbers from others."""
        return tuple(sorted(self.shared.items())), tuple(sorted(self.each.items()))


@dataclass(frozen=True)
class Setup:
    """What a rule is made of, apart from its numbers.

    Args:
        base: the base's tensors, under the names of the result.
        sets: how many weight sets the rule will get.
        load: opens a path that is named in a parameter.
    """

    base: Weights | None
    sets: int
    seed: int
    load: Callable[[str], Weights]


@dataclass(frozen=True)
class Method:
    """A merge method.

    Args:
        base: how the base model takes part. "origin": differences are taken from it, and it is not itself merged; needed.
            "optional": the same where a recipe names one. "first": it is the first of the sets; needed. "plain": no set is special.
        fewest, most: how many sets the rule takes (the base counts where it is one of them).
        grain: "tensor" binds the rule to every tensor alone, "model" to all tensors that share its numbers.
    """

    name: str
    parameters: tuple[Parameter, ...]
    base: Literal["origin", "optional", "first", "plain"]
    make: Callable[[Numbers, Setup], Rule]
    fewest: int = 1
    most: int | None = None
    grain: Literal["tensor", "model"] = "model"

    def parameter(self, name: str, place: Place) -> Parameter:
        """The parameter of that name; another one is an error at `place`."""
        known = {parameter.name: parameter for parameter in self.parameters}
        if name not in known:
            place.refuse(f"{unknown(f'parameter of {self.name}', name, known)}.")
        return known[name]
