"""The same rule on every layer or tensor alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal, Self, get_args

from ..errors import BadParameter
from ..weights import Block, layer_of, model_of, tensor_of
from .rule import Opener, Rule
from .sets import Sets

Grain = Literal["model", "layer", "tensor"]
_GROUP = {"model": model_of, "layer": layer_of, "tensor": tensor_of}


@dataclass(frozen=True)
class Per(Rule):
    """Bind `rule` to every group of tensors apart: one Gram matrix a layer instead of one for the model.

    Args:
        by: "tensor", "layer" (names alike up to their first number) or "model".
        rule: the rule for each group.

    >>> import torch
    >>> from loomweight.rules import Krum, combine
    >>> sets = [{"a.0.w": torch.tensor([x]), "a.1.w": torch.tensor([y])} for x, y in ((1.0, 9.0), (1.1, 5.0), (9.0, 5.1), (1.2, 5.2))]
    >>> [value.item() for value in dict(combine(sets, Per("layer", Krum(f=0)))).values()]  # the best of each layer: of two sets
    [1.100000023841858, 5.099999904632568]
    """

    by: Grain
    rule: Rule

    def __post_init__(self) -> None:
        if self.by not in get_args(Grain):
            raise BadParameter(f"Per: by must be one of {', '.join(get_args(Grain))}, found {self.by!r}.")

    def check(self, n: int) -> None:
        """As the inner rule."""
        self.rule.check(n)

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """The inner rule restricted."""
        return replace(self, rule=self.rule.restricted(kept, n))

    def bind(self, sets: Sets) -> Opener:
        """Bind a group when its first tensor is opened."""
        self.check(len(sets))
        group = _GROUP[self.by]
        groups: dict[str, list[str]] = {}
        for name in sets.names:
            groups.setdefault(group(name), []).append(name)
        locks = {key: Lock() for key in groups}
        bound: dict[str, Opener] = {}

        def open_(name: str) -> Block:
            key = group(name)
            with locks[key]:
                if key not in bound:
                    bound[key] = self.rule.bind(sets.only(groups[key]))
            return bound[key](name)

        return open_
