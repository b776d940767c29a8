"""Find out which size an attribute repeats, where several fit: try on the example, smallest subnet first."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import Any

import torch
from torch import nn

from ..derive.fold import folded
from ..errors import BadParameter
from .attention import tightened
from .attributes import follows
from .proof import Subnet, disproved
from .sizes import Size
from .slots import Change, slots_of

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


def settle(net: Any, outputs: Callable[[Any], Any] | None) -> None:
    """Decide on attributes of an elastic model; its smallest subnet and two others must run on the example, and two are proved.

    Raises:
        BadParameter: no reading of the attributes makes them run.
    """
    made, probes = net._made, [net.min(), *(net.sample(seed) for seed in range(2))]
    known = [change for slot in made.slots for change in slot.changes]

    def use(changes: list[Change]) -> None:
        with net.entire():
            net._place(slots_of([*known, *changes]))

    def runs(changes: list[Change]) -> str:
        use(changes)
        return next((why for values in probes if (why := _fails(net, values))), "") or next(
            (why for v in probes[:2] if (why := _disproved(net, v, outputs))), ""
        )

    use(settled(made.guesses, runs))
    made.guesses = []
    net.select(net.max())


def _fails(net: Any, values: Mapping[str, Any]) -> str:
    """Why a subnet does not run, or ""."""
    net.select(values)
    try:
        with net._evaluating(), torch.no_grad():
            net._run(*net._example[0], **net._example[1])
    except Exception as error:  # noqa: BLE001  whatever a user's model raises is told to the user
        chosen = ", ".join(f"{name} = {value}" for name, value in net.active.items())
        return f"the subnet {{{chosen}}} does not run on the example: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return ""


def _disproved(net: Any, values: Mapping[str, Any], outputs: Callable[[Any], Any] | None) -> str:
    """Why a subnet is put together wrongly, or ""; derivations that the user's model came with are in the table, and stay."""
    with net.entire() as model:
        names = {module: name for name, module in model.named_modules()}
    net.select(values)
    own = {name: names[module] for name, module in net.model.named_modules(remove_duplicate=False) if module in names}
    plain = tightened(folded(net.model, net._made.made.__contains__)).eval()
    return disproved(Subnet(net._made.axes, net._made.spaces, net.active, own), plain, net._prepared(), outputs)


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
