"""A recipe and its models' headers -> what will be done, tensor by tensor; no data is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from ..errors import LoomweightError, RecipeError
from ..rules import Per, Rule, combine
from ..weights import Block, Spec, Weights, union
from ..weights.order import natural
from .dtypes import dtype_of
from .masks import nonfinite_of
from .method import Method, Numbers, Setup
from .once import Once
from .pick import on, ordered, picked
from .recipe import Recipe

CPU = torch.device("cpu")


def no_path(path: str) -> Weights:
    """Stands for a way to open paths where there is none."""
    raise RecipeError(f"{path!r} is named in a parameter, and this plan was made without a way to open it.")


def unheard(words: str) -> None:
    """Stands for nobody who listens."""


@dataclass(frozen=True)
class Group:
    """Tensors of the result that are merged by one rule from the same models.

    Args:
        models: the models whose tensors the rule combines, in its order.
        base: the model that differences are taken from, if the method has one.
        names: name in the result -> its name in each model of `models`, the base's last.
    """

    models: tuple[str, ...]
    base: str | None
    numbers: Numbers
    names: Mapping[str, tuple[str, ...]]

    @property
    def read(self) -> tuple[str, ...]:
        """The models that are read, the base last: one for each name in `names`."""
        return (*self.models, self.base) if self.base else self.models

    def sets(self, inputs: Mapping[str, Weights]) -> list[Weights]:
        """The models' tensors under the names of the result."""
        return [picked(inputs[model], {new: old[i] for new, old in self.names.items()}) for i, model in enumerate(self.models)]

    def origin(self, inputs: Mapping[str, Weights]) -> Weights | None:
        """The base's tensors under the names of the result."""
        return picked(inputs[self.base], {new: old[-1] for new, old in self.names.items()}) if self.base else None


@dataclass(frozen=True)
class Plan:
    """What a recipe will do.

    Args:
        inputs: model -> its weights, as the recipe names it, after `prepare`.
        groups: what is merged how; every physical tensor of the result is in one group.
        ties: alias -> owner in the result.
        notes: what the recipe says that has no effect, and what deserves a word.
        load: opens the paths that stand in parameters (evidence).
        earlier: each makes the result of a document that this one uses.
    """

    recipe: Recipe = field(repr=False)
    method: Method = field(repr=False)
    inputs: Mapping[str, Weights]
    groups: tuple[Group, ...] = field(repr=False)
    ties: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    load: Callable[[str], Weights] = field(default=no_path, repr=False)
    earlier: tuple[Callable[[], Weights], ...] = field(default=(), repr=False)

    @cached_property
    def names(self) -> list[str]:
        """All names of the result, aliases too, in their order."""
        return natural([*(name for group in self.groups for name in group.names), *self.ties])

    @cached_property
    def dtype(self) -> torch.dtype | None:
        """The dtype that the recipe stores floating tensors in; None keeps the inputs'."""
        return dtype_of(self.recipe.dtype, self.recipe.place) if self.recipe.dtype else None

    @cached_property
    def sources(self) -> tuple[Path, ...]:
        """Every file and folder that is read: of the models, and of the evidence that parameters name."""
        opened: list[Weights] = list(self.inputs.values())

        def noted(path: str) -> Weights:
            opened.append(self.load(path))
            return opened[-1]

        for group in self.groups:
            self.method.make(group.numbers, Setup(group.origin(self.inputs), len(group.models), self.recipe.seed, noted))
        return tuple(dict.fromkeys(source for weights in opened for source in weights.sources))

    def rule(self, group: Group, inputs: Mapping[str, Weights] | None = None) -> Rule:
        """The rule of a group with all its numbers.

        Raises:
            RecipeError: the numbers do not go together, or there are too few models for them.
        """
        base = group.origin(inputs or self.inputs)
        setup = Setup(base, len(group.models), self.recipe.seed, self.load)
        try:
            rule = self.method.make(group.numbers, setup)
            rule.check(len(group.models))
        except RecipeError:
            raise
        except LoomweightError as error:
            raise RecipeError(f"{self.recipe.method_place}: {error}") from error
        return Per("tensor", rule) if self.method.grain == "tensor" else rule

    def weights(self, *, allow_nonfinite: bool = False, device: torch.device = CPU, tell: Callable[[str], None] = unheard) -> Weights:
        """The result, lazy. Rules of the grain of the model read what they need to weigh the models now; nothing else is read.

        Args:
            allow_nonfinite: go on where an input holds NaN or Inf, as `nonfinite_of` says for each rule.
            device: where rules compute.
            tell: called with a sentence for each model that is left out because it holds NaN or Inf.
        """
        inputs = {model: on(weights, device) for model, weights in self.inputs.items()}
        parts = [self._merged(group, inputs, allow_nonfinite, tell) for group in self.groups]
        return ordered(union(*parts), self.names, self.ties)

    def promised(self, make: Callable[[], Weights] | None = None) -> Weights:
        """The result as an input of another plan: nothing is read or weighed before its first tensor is opened.

        Args:
            make: gives the result, the same at every call; None is `weights`, called once.
        """
        result, make = self.headers, make or Once(self.weights)

        def open_(name: str) -> Block:
            return make().open(name)

        origin = ("plan", *(self.rule(group) for group in self.groups), *self.inputs.values())
        return Weights(result, open_, ties=self.ties, origin=origin, label=self.recipe.name or "", sources=self.sources)

    @cached_property
    def headers(self) -> dict[str, Spec]:
        """Shape and dtype of every tensor of the result."""
        own: dict[str, Spec] = {}
        for group in self.groups:
            for name, old in group.names.items():
                spec = self.inputs[group.models[0]].spec[old[0]]
                own[name] = Spec(spec.shape, self.dtype) if self.dtype and spec.averages else spec
        return {name: own[self.ties.get(name, name)] for name in self.names}

    def _merged(self, group: Group, inputs: Mapping[str, Weights], allow_nonfinite: bool, tell: Callable[[str], None]) -> Weights:
        rule = self.rule(group, inputs)
        policy = nonfinite_of(rule) if allow_nonfinite else "raise"

        def left_out(index: int, name: str) -> None:
            whole = f"{self.method.name}, which looks at whole tensors and cannot leave out single entries"
            tell(f"{group.models[index]} is left out of {len(group.names)} tensors: its {name!r} holds NaN or Inf, and they are merged by {whole}.")

        return combine(group.sets(inputs), rule, nonfinite=policy, integers=self.recipe.integers, dtype=self.dtype, on_drop=left_out)
