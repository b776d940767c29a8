"""Several files as one set, whose order and ties do not depend on how tensors are spread over the files."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ..errors import BrokenFile
from .order import natural, owner
from .spec import Block
from .store import Store
from .weights import Weights


def assemble(stores: Sequence[Store], label: str, sources: tuple[Path, ...]) -> Weights:
    """The union of the files' tensors in natural order; of names that share a tensor the first is the owner.

    Raises:
        BrokenFile: two files hold the same name.
    """
    home: dict[str, Store] = {}
    for store in stores:
        for name in store.spec:
            if name in home:
                raise BrokenFile(f"tensor {name!r} is in {home[name].stamp.path} and in {store.stamp.path}; load one of them, or remove the stale one.")
            home[name] = store
    order = natural(home)
    origin = ("files", *sorted(store.stamp.word for store in stores))

    def open_(name: str) -> Block:
        return home[name].open(name)

    return Weights({name: home[name].spec[name] for name in order}, open_, ties=_ties(order, home), origin=origin, label=label, sources=sources)


def _ties(order: list[str], home: dict[str, Store]) -> dict[str, str]:
    groups: dict[tuple[int, str], list[str]] = defaultdict(list)
    for name in order:
        groups[id(home[name]), home[name].ties.get(name, name)].append(name)
    return {alias: first for group in groups.values() if (first := owner(group)) for alias in group if alias != first}
