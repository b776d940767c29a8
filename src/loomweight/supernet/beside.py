"""Tensors beside those of the model: copies that some configurations have for themselves, experts, routers, adapters."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from ..errors import BadParameter
from .elastic import Elastic, Values
from .guard import guard
from .slots import Change, Entry, slots_of
from .stored import Stored

#: a module's id, which of its dictionaries, the key there
Follows = Mapping[str, Callable[[Values], Any]]


def adopt(net: Elastic, stored: Mapping[str, Stored], changes: Iterable[Change] = (), *, follows: Follows | None = None, without: Iterable[Entry] = ()) -> None:
    """Give an elastic model tensors beside its own; from now on they are trained, saved, loaded and moved with it.

    Args:
        net: changed in place; optimizers have to be made anew.
        stored: name -> tensor; a name that the model has already stands for the same tensor.
        changes: entries of modules that follow from configurations because of them; one takes the place of another of the same entry.
        follows: name -> what follows from a configuration (the group that it belongs to); fields of changes may name it.
        without: entries that no longer change.

    Raises:
        BadParameter: a name is taken.
    """
    mine = net.stored()
    if taken := [name for name, one in stored.items() if name in mine and mine[name] is not one]:
        raise BadParameter(f"the elastic model has another tensor of the name {taken[0]!r}.")
    for name, one in stored.items():
        key = name.replace(".", "/")
        if isinstance(one.tensor, nn.Parameter):
            net.beside.register_parameter(key, one.tensor)
        else:
            net.beside.register_buffer(key, one.tensor)
    mine.update(stored)
    guard([one.tensor for one in stored.values() if isinstance(one.tensor, nn.Parameter)])
    _follow(net, list(changes), follows or {}, set(without))


def _follow(net: Elastic, changes: list[Change], follows: Follows, gone: set[Entry]) -> None:
    new = {change.entry for change in changes} | gone
    kept = [change for slot in net._made.slots for change in slot.changes if change.entry not in new]
    net._follows.update(follows)
    net._originals.forget(gone)
    net._place(slots_of([*kept, *changes]))
    net._versioned = list({id(one.tensor): one.tensor for one in net.stored().values()}.values())
    refresh(net)


def refresh(net: Elastic) -> None:
    """Put everything in place anew, after what follows from configurations has changed."""
    net._statistics.leave()
    net._full = net._extended(net.active)
    net._whole = tuple(net._extended(net.max()).values())
    net._apply_all()
