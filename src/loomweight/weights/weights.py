"""`Weights`: a named set of tensors whose names, shapes and dtypes are known before any data is read."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property, singledispatch
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable
from uuid import uuid4

import torch
from torch import Tensor

from ..errors import BadParameter, unknown
from .spec import Block, Spec, cast


class Weights:
    """A lazy, immutable mapping from tensor names to tensors.

    Reading is in two steps. `open(name)` does whatever needs the whole tensor (a threshold, a decomposition) and returns a
    `Block`: a function of (lo, hi) that gives these flat entries in working precision, unrounded. `w[name]` is the whole
    tensor, rounded once to the dtype that `w.spec[name]` promises.

    Args:
        spec: name -> `Spec`, in the set's fixed order.
        open_: opens one *physical* tensor (never an alias).
        ties: alias -> owner, for names that share one physical tensor. Operations act once, on the owner.
        origin: what the data comes from: hashable words and other `Weights`. Two sets are equal when header and origin are.
            By default the set is equal to itself alone.
        label: a short word for messages and reports.
        sources: files and folders that the data is read from.

    >>> w = Weights.of({"a": torch.ones(2), "b": torch.zeros(2, 2)})
    >>> w
    Weights(2 tensors, 6 parameters, float32)
    >>> w["a"], w.spec["b"].shape, list(w), "c" in w
    (tensor([1., 1.]), (2, 2), ['a', 'b'], False)
    """

    def __init__(
        self,
        spec: Mapping[str, Spec],
        open_: Callable[[str], Block],
        *,
        ties: Mapping[str, str] = MappingProxyType({}),
        origin: tuple[object, ...] | None = None,
        label: str = "",
        sources: tuple[Path, ...] = (),
    ) -> None:
        for alias, owner in ties.items():
            if owner not in spec or owner in ties or spec.get(alias) != spec[owner]:
                raise BadParameter(f"tensor {alias!r} cannot share the storage of {owner!r}: no such tensor, or another shape or dtype.")
        self.spec: Mapping[str, Spec] = MappingProxyType(dict(spec))
        self.ties: Mapping[str, str] = MappingProxyType(dict(ties))
        self.label = label
        self.sources = sources
        self._open = open_
        self._origin = origin if origin is not None else ("memory", uuid4().hex)

    @staticmethod
    def of(tensors: Mapping[str, Tensor], label: str = "") -> "Weights":
        """A set over tensors in memory (a state dict). Names whose tensors are one and the same view of memory are tied."""
        from .memory import from_tensors

        return from_tensors(tensors, label)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, aliases too, in the set's fixed order."""
        return tuple(self.spec)

    @cached_property
    def physical(self) -> tuple[str, ...]:
        """The names that own storage: every tensor once."""
        return tuple(name for name in self.spec if name not in self.ties)

    def open(self, name: str) -> Block:
        """Open a tensor (or the owner of an alias) for reading by blocks, in working precision."""
        if name not in self.spec:
            raise unknown("tensor", name, self.spec)
        return self._open(self.ties.get(name, name))

    def __getitem__(self, name: str) -> Tensor:
        block = self.open(name)
        spec = self.spec[name]
        return cast(block(0, spec.numel), spec.dtype, name).reshape(spec.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.spec)

    def __len__(self) -> int:
        return len(self.spec)

    def __contains__(self, name: object) -> bool:
        return name in self.spec

    def keys(self) -> tuple[str, ...]:
        """The names; with `w[name]` this makes `dict(w)` and `load_state_dict(dict(w))` work."""
        return self.names

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) one at a time."""
        return ((name, self[name]) for name in self)

    @property
    def nbytes(self) -> int:
        """Bytes when stored, shared tensors counted once."""
        return sum(self.spec[name].nbytes for name in self.physical)

    @cached_property
    def header(self) -> str:
        """Digest of names, shapes, dtypes and ties."""
        lines = [f"{name}\0{spec.shape}\0{spec.dtype}\0{self.ties.get(name, '')}" for name, spec in self.spec.items()]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the header and of what the data comes from (files with size and time of change, operations, rules)."""
        return hashlib.sha256("\n".join([self.header, *map(_word, self._origin)]).encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.header)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Weights) and self.fingerprint == other.fingerprint)

    def __repr__(self) -> str:
        dtypes = sorted({str(spec.dtype).removeprefix("torch.") for spec in self.spec.values()})
        count = sum(self.spec[name].numel for name in self.physical)
        words = [self.label] if self.label else []
        words += [f"{len(self)} tensor{'s' * (len(self) != 1)}", f"{_short(count)} parameters", "/".join(dtypes) or "empty"]
        words += [f"{len(self.ties)} tied"] if self.ties else []
        return f"Weights({', '.join(words)})"

    # Algebra, lazy: see algebra.py, which holds the meaning.

    def __add__(self, other: "Weights") -> "Weights":
        from .algebra import add

        return add(self, other)

    def __sub__(self, other: "Weights") -> "Weights":
        from .algebra import subtract

        return subtract(self, other)

    def __mul__(self, factor: float) -> "Weights":
        from .algebra import scale

        return scale(self, factor)

    __rmul__ = __mul__

    def select(self, *patterns: str) -> "Weights":
        """The tensors whose names match any of the patterns (`*` matches any run of characters)."""
        from .algebra import select

        return select(self, *patterns)

    def rename(self, names: "Callable[[str], str] | Mapping[str, str]") -> "Weights":
        """The same tensors under other names: a function, or a mapping of the names that change."""
        from .algebra import rename

        return rename(self, names)

    def map(self, edit: "Changes | Callable[[str, Spec, Block], Block]") -> "Weights":
        """Every physical tensor through an edit, or through a function of (name, spec, block)."""
        from .algebra import mapped

        return mapped(self, edit)


@runtime_checkable
class Changes(Protocol):
    """What `map` takes: something that says what becomes of each tensor of a set, such as an edit."""

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """The changed tensors, by name of the physical tensor."""
        ...


@singledispatch
def _word(value: object) -> str:
    """What identifies a value across processes; a function's does not, so sets made with one are never resumed."""
    if is_dataclass(value):
        return f"{type(value).__qualname__}{_word(tuple(getattr(value, field.name) for field in fields(value)))}"
    return repr(value)


@_word.register
def _(value: Weights) -> str:
    return value.fingerprint


@_word.register
def _(value: tuple) -> str:  # type: ignore[type-arg]
    return f"({','.join(map(_word, value))})"


@_word.register
def _(value: Tensor) -> str:
    entries = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return f"{value.dtype}{tuple(value.shape)}{hashlib.sha256(entries.numpy().tobytes()).hexdigest()}"


def _short(count: int) -> str:
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**4)):
        if count >= size:
            return f"{count / (1000 if unit == 'k' else size):.3g}{unit}"
    return str(count)
