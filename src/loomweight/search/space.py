"""What a search may choose: numbers and options by name, and which of them matter when."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import BadParameter, unknown
from .dependence import checked, counted, holds_for, parents_first
from .dimension import Dimension
from .randomness import Source, numbers_of

#: One choice of everything: name -> number or option.
Values = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """Named dimensions, in a fixed order.

    Args:
        dimensions: field -> what it may be.
        depends: field -> (another field, the values of that one for which the field matters). A field that does not matter stands
            at its last option in every canonical configuration, so that the same network has one name.

    Raises:
        BadParameter: there is nothing to choose, or `depends` does not fit the dimensions.

    >>> from loomweight.search import Choice, Float, Ordered
    >>> Space({"weight": Float(0, 1), "method": Choice(("ties", "linear"))}).names
    ('weight', 'method')
    >>> space = Space({"depth": Ordered((1, 2)), "width2": Ordered((8, 16))}, depends={"width2": ("depth", (2,))})
    >>> space.canonical({"depth": 1, "width2": 8}), space.count()
    ({'depth': 1, 'width2': 16}, 3)
    """

    dimensions: Mapping[str, Dimension]
    depends: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", MappingProxyType(dict(self.dimensions)))
        if not self.dimensions:
            raise BadParameter("a search space needs at least one dimension.")
        object.__setattr__(self, "depends", MappingProxyType(checked(self.depends, self.dimensions)))
        object.__setattr__(self, "_order", parents_first(self.names, self.depends))

    def __reduce__(self) -> tuple[Any, ...]:
        return Space, (dict(self.dimensions), dict(self.depends))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return tuple(self.dimensions)

    @property
    def order(self) -> tuple[str, ...]:
        """The names, each after the one that it depends on."""
        return self._order  # type: ignore[attr-defined]

    def check(self, values: Mapping[str, Any]) -> Values:
        """The values in the order of the space; raise unless there is one for each name, and each is in its range."""
        self._known(values)
        for name, dimension in self.dimensions.items():
            if name not in values:
                raise BadParameter(f"there is no value for {name!r}; the space has {', '.join(self.names)}.")
            self._holds(name, dimension, values[name])
        return {name: values[name] for name in self.dimensions}

    def matters(self, values: Mapping[str, Any]) -> frozenset[str]:
        """The fields whose values make a difference: those whose own field matters and has one of the values that they depend on.

        >>> from loomweight.search import Ordered
        >>> sorted(Space({"depth": Ordered((1, 2)), "w": Ordered((8, 16))}, {"w": ("depth", (2,))}).matters({"depth": 1, "w": 8}))
        ['depth']
        """
        found: set[str] = set()
        for name in self.order:
            if name not in self.depends or (self.depends[name][0] in found and holds_for(name, values, self.depends)):
                found.add(name)
        return frozenset(found)

    def canonical(self, values: Mapping[str, Any]) -> Values:
        """The configuration's one name: checked, in the order of the space, fields that do not matter at their last option.

        A field that does not matter may be left out.

        Raises:
            UnknownName, BadParameter: as `check`.
        """
        self._known(values)
        full: Values = {}
        matters: set[str] = set()
        for name in self.order:
            dimension = self.dimensions[name]
            free = name not in self.depends or (self.depends[name][0] in matters and holds_for(name, full, self.depends))
            if name in values:
                self._holds(name, dimension, values[name])
            elif free:
                raise BadParameter(f"there is no value for {name!r}; allowed: {dimension.allowed}.")
            full[name] = values[name] if free else dimension.last
            if free:
                matters.add(name)
        return {name: full[name] for name in self.dimensions}

    def count(self) -> int:
        """How many canonical configurations there are.

        Raises:
            BadParameter: a dimension is a number without gaps.
        """
        for name, dimension in self.dimensions.items():
            if dimension.options_left(dimension.last) is None:
                raise BadParameter(f"{name!r} is {dimension}, a number without gaps, so configurations cannot be counted; use Int, Choice or Ordered.")
        return counted(self.dimensions, self.depends)

    def enumerate(self) -> Iterator[Values]:
        """All canonical configurations, one after the other, the last field changing fastest.

        >>> from loomweight.search import Choice, Ordered
        >>> list(Space({"a": Ordered((1, 2)), "b": Choice(("x", "y"))}).enumerate())[1]
        {'a': 1, 'b': 'y'}
        """
        self.count()
        return self._below({}, frozenset(), self.order)

    def sample(self, random: Source) -> Values:
        """A canonical configuration: every field drawn by itself, each value as likely as the others.

        Args:
            random: a seed, a numpy Generator or a `random.Random`; generators move on.
        """
        numbers = numbers_of(random)
        return self.canonical({name: dimension.sample(numbers) for name, dimension in self.dimensions.items()})

    @property
    def columns(self) -> tuple[str, ...]:
        """What the entries of `encode` stand for: the field's name, or `field=option` where options have no order."""
        return tuple(column for name, dimension in self.dimensions.items() for column in _columns(name, dimension))

    def encode(self, values: Mapping[str, Any]) -> np.ndarray:
        """The canonical configuration as float32 numbers from 0 to 1, for predictors: ordered fields scaled, others one-hot.

        >>> from loomweight.search import Choice, Ordered
        >>> Space({"width": Ordered((16, 32, 64)), "op": Choice(("conv", "skip"))}).encode({"width": 64, "op": "skip"})
        array([1., 0., 1.], dtype=float32)
        """
        full = self.canonical(values)
        return np.array([entry for name, dimension in self.dimensions.items() for entry in dimension.scaled(full[name])], dtype=np.float32)

    def mutate(self, values: Mapping[str, Any], random: Source, rate: float | None = None) -> Values:
        """A configuration that differs from the given one in fields that matter.

        Fields that begin to matter by it, such as those of added layers, are drawn anew.

        Args:
            rate: None changes one field; a number from 0 to 1 changes each field with this probability, and one at least.

        Raises:
            BadParameter: the rate is outside [0, 1], or no field has another value.
        """
        if rate is not None and not 0 <= rate <= 1:
            raise BadParameter(f"a rate of mutation lies in [0, 1], found {rate}.")
        numbers, old = numbers_of(random), self.canonical(values)
        before = self.matters(old)
        free = [name for name in self.names if name in before and self.dimensions[name].options_left(old[name]) != 0]
        if not free:
            raise BadParameter("there is nothing to mutate: every field that matters has one value only.")
        chosen = [name for name in free if rate is not None and numbers.random() < rate] or [free[int(numbers.integers(len(free)))]]
        new = old | {name: self.dimensions[name].another(old[name], numbers) for name in chosen}
        new |= {name: self.dimensions[name].sample(numbers) for name in self.names if name not in before}
        return self.canonical(new)

    def cross(self, a: Mapping[str, Any], b: Mapping[str, Any], random: Source) -> Values:
        """A child that has each field from one parent or the other; a field that matters in one parent alone is that one's."""
        numbers = numbers_of(random)
        parents = (self.canonical(a), self.canonical(b))
        matters = [self.matters(parent) for parent in parents]
        child = {}
        for name in self.names:
            coin = int(numbers.integers(2))
            alone = [i for i in (0, 1) if name in matters[i]]
            child[name] = parents[alone[0] if len(alone) == 1 else coin][name]
        return self.canonical(child)

    def described(self) -> dict[str, Any]:
        """The space as plain data that JSON can hold."""
        plain = {name: {"kind": type(d).__name__, **asdict(d)} for name, d in self.dimensions.items()}  # type: ignore[call-overload]
        for name, (other, values) in self.depends.items():
            plain[name]["depends"] = [other, list(values)]
        return plain

    def _below(self, chosen: Values, matters: frozenset[str], names: tuple[str, ...]) -> Iterator[Values]:
        if not names:
            yield {name: chosen[name] for name in self.dimensions}
            return
        name, *rest = names
        free = name not in self.depends or (self.depends[name][0] in matters and holds_for(name, chosen, self.depends))
        for value in self.dimensions[name].every() if free else (self.dimensions[name].last,):
            yield from self._below(chosen | {name: value}, matters | {name} if free else matters, tuple(rest))

    def _known(self, values: Mapping[str, Any]) -> None:
        for name in values:
            if name not in self.dimensions:
                raise unknown("dimension", name, self.dimensions)

    def _holds(self, name: str, dimension: Dimension, value: object) -> None:
        if not dimension.holds(value):
            raise BadParameter(f"{name} = {value!r} is not in {dimension}; allowed: {dimension.allowed}.")


def _columns(name: str, dimension: Dimension) -> tuple[str, ...]:
    return (name,) if dimension.ordered else tuple(f"{name}={option!r}" for option in dimension.every())
