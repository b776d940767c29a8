"""Weights that are shared less: a tensor is stored several times, and a configuration decides which copy it uses."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..derive import Quantised
from ..derive.derive import derived_of
from ..errors import BadParameter, UnknownName
from ..weights.names import listed
from .beside import adopt
from .draft import named_by
from .elastic import Elastic, Values
from .slots import Change
from .stored import Assembled, Stored, parameters_of

_MARK = "copies."


@dataclass(frozen=True)
class Place:
    """Where one tensor is used."""

    module: nn.Module
    leaf: str
    how: Assembled | None


class Copies:
    """Several copies of tensors of an elastic model; `index` says which of them a configuration uses.

    All else stays as it is: subnets are views of the copy that they use, gradients and optimizer state belong to it, an exported
    subnet is plain.

    Args:
        net: changed in place; optimizers have to be made anew, and again after `add`.
        index: configuration -> number of its copy, from 0.
        count: how many copies at first; all start with the values of the tensors.
        shared: patterns of names (or of what they lie in) that stay shared.

    Raises:
        BadParameter: tensors have copies already, are derived otherwise, or all of them are shared.
        UnknownName: a pattern names no tensor.

    >>> from loomweight.supernet import elastic
    >>> net = elastic(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> copies = Copies(net, lambda values: int(values["width 0"] > 2), count=2, shared=["2"])
    >>> list(net.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias', 'copies.1.0.weight', 'copies.1.0.bias']
    """

    def __init__(self, net: Elastic, index: Callable[[Values], int], count: int = 1, shared: Sequence[str] = ()) -> None:
        self.net, self.index = net, index
        with net.entire():
            self.places = _places(net, shared)
        self._copies = {id(one): [one] for one in self._originals()}
        self.field = f"copy {len(net._follows)}"
        made = {one.name: one for one in self._originals()}
        for _ in range(count - 1):
            made |= self._twins(0)
        adopt(net, made, list(self._changes()), follows={self.field: self._index})

    @property
    def count(self) -> int:
        """How many copies there are."""
        return len(next(iter(self._copies.values())))

    def add(self, source: int) -> int:
        """One copy more, with the values of copy `source`; its number."""
        number = self.count
        adopt(self.net, self._twins(source))
        return number

    def stored(self, number: int) -> dict[str, Stored]:
        """The tensors of one copy, by their names in the model."""
        return {one.name: self._copies[id(one)][number] for one in self._originals()}

    def _twins(self, source: int) -> dict[str, Stored]:
        number, new = self.count, dict[str, Stored]()
        for one in self._originals():
            like = self._copies[id(one)][source].tensor
            twin = like.detach().clone()
            made = Stored(f"{_MARK}{number}.{one.name}", nn.Parameter(twin, like.requires_grad) if isinstance(like, nn.Parameter) else twin, one.layout)
            self._copies[id(one)].append(made)
            new[made.name] = made
        return new

    def _originals(self) -> list[Stored]:
        return list({id(one): one for one, _ in self.places}.values())

    def _index(self, values: Values) -> int:
        number = self.index(values)
        if not 0 <= number < self.count:
            raise BadParameter(f"there are {self.count} copies, numbered from 0, but the configuration {values} is to use number {number}.")
        return number

    def _changes(self) -> Iterator[Change]:
        for one, place in self.places:
            fields = (*(one.layout.fields if one.layout else ()), self.field)
            if place.how is None:
                kind = "_parameters" if isinstance(one.tensor, nn.Parameter) else "_buffers"
                yield Change(place.module, kind, place.leaf, fields, self._plain(one))
            else:
                count = len(one.layout.parts) if one.layout else 0
                for key in ("stored", *(f"part_{i}" for i in range(count))):
                    yield Change(place.how, "_parameters", key, fields, self._piece(one, key, count))

    def _plain(self, one: Stored) -> Callable[[Any], Any]:
        def make(values: Any) -> Any:
            copy = self._copies[id(one)][values[self.field]]
            return copy.pieces(values)[0].tensor if copy.layout is not None and copy.layout.fields else copy.tensor

        return make

    def _piece(self, one: Stored, key: str, count: int) -> Callable[[Any], Any]:
        return lambda values: parameters_of(self._copies[id(one)][values[self.field]].pieces(values), count)[key]


def _places(net: Elastic, shared: Sequence[str]) -> list[tuple[Stored, Place]]:
    """Tensors of the model that no pattern names, and where they are used; all blocks are in place."""
    names = [name for name in net.stored() if _owner(net, name) is not None]
    if missing := [pattern for pattern in shared if not any(named_by(name, pattern) for name in names)]:
        raise UnknownName(f"{missing[0]!r} names no tensor to share; there are: {listed(names)}.")
    kept = {id(net.stored()[name]) for name in names if any(named_by(name, pattern) for pattern in shared)}
    found = [(net.stored()[name], _place(net, name)) for name in names if id(net.stored()[name]) not in kept]
    if not any(isinstance(one.tensor, nn.Parameter) for one, _ in found):
        raise BadParameter(f"no parameter is left that is not shared: {', '.join(shared)} name all of them.")
    unshared(net, [one.name for one, _ in found])
    return found


def unshared(net: Elastic, names: Iterable[str]) -> None:
    """Refuse tensors that have copies.

    Raises:
        BadParameter: one has.
    """
    copied = {change.entry[::2] for slot in net._made.slots for change in slot.changes if set(change.fields) & set(net._follows)}
    places = {name: _place(net, name) for name in names}
    if twice := [name for name, place in places.items() if (id(place.how or place.module), "stored" if place.how else place.leaf) in copied]:
        raise BadParameter(f"{listed(twice)} have copies already.")


def _owner(net: Elastic, name: str) -> nn.Module | None:
    prefix, _, leaf = name.rpartition(".")
    try:
        owner = net.model.get_submodule(prefix)
    except AttributeError:
        return None
    return owner if (leaf in owner._parameters or leaf in owner._buffers or leaf in derived_of(owner)) else None


def _place(net: Elastic, name: str) -> Place:
    owner, leaf = _owner(net, name), name.rpartition(".")[2]
    assert owner is not None
    if leaf not in derived_of(owner):
        return Place(owner, leaf, None)
    how: nn.Module = derived_of(owner)[leaf]
    how = how.how if type(how) is Quantised and isinstance(how.how, nn.Module) else how
    if not isinstance(how, Assembled):
        raise BadParameter(f"{name} is derived by {type(how).__name__}; copies are of tensors that are stored as they are used.")
    return Place(owner, leaf, how)
