"""Find out which size an attribute repeats, where several fit: try on the example, smallest subnet first."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import Any

from torch import nn

from ..errors import BadParameter
from .attributes import follows
from .sizes import Size
from .slots import Change

#: combinations that are tried at most
_MOST = 400


@dataclass(frozen=True)
class Guess:
    """An attribute of a module and the sizes that it may repeat, likeliest first."""

    module: nn.Module
    key: str
    value: Any
    sizes: tuple[Size | None, ...]

    @property
    def alike(self) -> tuple[Any, ...]:
        """What modules of one class have in common: they are decided together."""
        return type(self.module), self.key, tuple(_kind(size) for size in self.sizes)

    def changes(self, choice: int) -> Iterator[Change]:
        """The change if this size is the one; none if it stays."""
        size = self.sizes[choice]
        if size is not None:
            yield Change(self.module, "__dict__", self.key, size.fields, follows(size, self.value))


def _kind(size: Size | None) -> Any:
    """A size without the names of its layer."""
    return size and tuple(tuple(factor if isinstance(factor, int) else factor.rpartition(".")[2] for factor in term) for term in size.axis)


def settled(guesses: Sequence[Guess], runs: Callable[[list[Change]], str]) -> list[Change]:
    """The first combination with which all probes run.

    Args:
        guesses: to decide on.
        runs: "" where the probes run with these changes, else why not.

    Raises:
        BadParameter: none of them runs.
    """
    groups: dict[Any, list[Guess]] = {}
    for guess in guesses:
        groups.setdefault(guess.alike, []).append(guess)
    sizes = [len(group[0].sizes) for group in groups.values()]
    why = ""
    for choice in islice(_choices(sizes), _MOST):
        changes = [change for number, group in zip(choice, groups.values(), strict=True) for guess in group for change in guess.changes(number)]
        problem = runs(changes)
        if not problem:
            return changes
        why = why or problem
    raise BadParameter(why)


def _choices(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The first of everything, then all that differ in one place, in two, in three.

    >>> list(_choices([2, 2]))
    [(0, 0), (1, 0), (0, 1), (1, 1)]
    """
    for count in range(min(len(sizes), 3) + 1):
        for places in combinations(range(len(sizes)), count):
            for others in product(*(range(1, sizes[place]) for place in places)):
                chosen = dict(zip(places, others, strict=True))
                yield tuple(chosen.get(i, 0) for i in range(len(sizes)))
