"""A PEFT adapter's folder, opened: its settings, its factors and the tensors that it holds whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BrokenFile
from .adapter_config import NAME, AdapterConfig, read_config
from .adapter_tensors import Factors, Replacement, factors_in, replacements_in
from .low_rank import LowRank
from .open_file import open_file
from .shard_index import inside
from .spec import Spec
from .store import Stamp, Store

FILES = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True)
class Adapter:
    """One adapter. Factors are read when they are used."""

    folder: Path
    config: AdapterConfig
    store: Store
    factors: Mapping[str, Factors]
    replaced: Mapping[str, Replacement]

    @cached_property
    def origin(self) -> tuple[object, ...]:
        """What tells it from other adapters: its two files."""
        return ("adapter", self.store.stamp.word, Stamp.of(self.folder / NAME).word)

    @property
    def dora(self) -> bool:
        """True where magnitudes stand beside the factors."""
        return self.config.dora or any(factors.magnitude for factors in self.factors.values())

    def spec(self, factors: Factors) -> Spec:
        """Shape and dtype of a module's delta, before it is known how the base stores the weight: an output is a row, an embedding's entry too."""
        a, b = self.store.spec[factors.a], self.store.spec[factors.b]
        dtype = torch.promote_types(a.dtype, b.dtype)
        return Spec((a.shape[1], b.shape[0]) if factors.embedding else (b.shape[0], *a.shape[1:]), dtype)

    def flipped(self, factors: Factors) -> bool:
        """Whether the base stores the module's weight as (in, out), as far as the config tells."""
        return self.config.transposed and len(self.store.spec[factors.a].shape) == 2 and not factors.embedding

    def delta(self, factors: Factors, work: torch.dtype, flipped: bool) -> LowRank:
        """Read a module's factors; `flipped` where the base stores the weight as (in, out)."""
        a, b = self.read(factors.a, work).flatten(1), self.read(factors.b, work).flatten(1)
        scaling = self.config.scaling(factors.module)
        if factors.embedding or flipped:
            return LowRank.of(a.T, b.T, scaling)
        return LowRank.of(b, a, scaling)

    def bias(self, factors: Factors, work: torch.dtype) -> Tensor:
        """The delta of a module's bias."""
        assert factors.bias
        return self.read(factors.bias, work).flatten() * self.config.scaling(factors.module)

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        """One stored tensor, whole."""
        spec = self.store.spec[name]
        return self.store.open(name)(0, spec.numel).to(dtype).view(spec.shape)


def read_adapter(folder: Path) -> Adapter:
    """Open an adapter's folder; headers only.

    Raises:
        BrokenFile: the config or the tensors are missing, damaged, at odds with each other, or of an unknown kind.
    """
    config = read_config(inside(folder, NAME, folder))
    name = next((name for name in FILES if (folder / name).exists()), FILES[0])
    store = open_file(inside(folder, name, folder))
    factors = factors_in(store.stamp.path, list(store.spec))
    adapter = Adapter(folder, config, store, factors, replacements_in(list(store.spec)))
    for found in factors.values():
        _check(adapter, found)
    return adapter


def _check(adapter: Adapter, factors: Factors) -> None:
    a, b = adapter.store.spec[factors.a], adapter.store.spec[factors.b]
    rank = adapter.config.rank_of(factors.module)
    where = f"{adapter.store.stamp.path}: module {factors.module!r}"
    if len(a.shape) < 2 or len(a.shape) != len(b.shape) or (a.shape[0], b.shape[1]) != (rank, rank) or any(side != 1 for side in b.shape[2:]):
        raise BrokenFile(f"{where} has factors of shapes {a.shape} and {b.shape}, which do not make a product of rank {rank}, as {NAME} says.")
    if not (a.averages and b.averages):
        raise BrokenFile(f"{where} has factors of dtypes {a.dtype} and {b.dtype}; only floating factors are understood.")
    if adapter.config.dora and not factors.magnitude:
        raise BrokenFile(f"{where} lacks lora_magnitude_vector, though {NAME} sets use_dora.")
    _check_vectors(adapter, factors, where)


def _check_vectors(adapter: Adapter, factors: Factors, where: str) -> None:
    outputs = adapter.store.spec[factors.b].shape[0]
    for name in filter(None, (factors.magnitude, factors.bias)):
        if adapter.store.spec[name].numel != outputs:
            raise BrokenFile(f"{where} has {outputs} outputs, but {name!r} has shape {adapter.store.spec[name].shape}.")
