"""Where every byte of the output goes, known from names, shapes and dtypes alone, before any data is read.

A safetensors file is: 8 bytes with the length of the header, the header (JSON, padded with spaces to a multiple of 8), the
data. Tensors lie widest dtype first, then by name, so each starts at a multiple of its item size:
https://huggingface.co/docs/safetensors/index#format
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from ..errors import BadParameter, OutputError
from .names import listed
from .spec import Spec
from .weights import Weights

_WIDEST_FIRST = """uint64 U64, int64 I64, float64 F64, complex64 C64, float32 F32, uint32 U32, int32 I32, bfloat16 BF16, float16 F16, uint16 U16,
int16 I16, float8_e5m2fnuz F8_E5M2FNUZ, float8_e4m3fnuz F8_E4M3FNUZ, float8_e8m0fnu F8_E8M0, float8_e4m3fn F8_E4M3, float8_e5m2 F8_E5M2, int8 I8,
uint8 U8, float4_e2m1fn_x2 F4, bool BOOL"""

#: dtype -> its code in a header, in the order in which dtypes lie in a file.
CODES: dict[torch.dtype, str] = {getattr(torch, name): code for name, code in (pair.split() for pair in _WIDEST_FIRST.split(",")) if hasattr(torch, name)}
_RANK = {dtype: rank for rank, dtype in enumerate(CODES)}
_UNITS = {"": 1, "B": 1} | {f"{p}{b}B": (1024 if b else 1000) ** n for n, p in enumerate("KMGT", start=1) for b in ("", "i")}
_LONGEST_HEADER = 100_000_000  # the reader of safetensors refuses more


@dataclass(frozen=True)
class Slot:
    """One physical tensor's place: `offset` is its first byte, counted from the start of the file."""

    name: str
    spec: Spec
    offset: int


@dataclass(frozen=True)
class Shard:
    """One file: its name, the bytes of its header, and the places of its tensors in the order in which they lie."""

    file: str
    header: bytes
    slots: tuple[Slot, ...]

    @property
    def nbytes(self) -> int:
        """Length of the file."""
        return len(self.header) + sum(slot.spec.nbytes for slot in self.slots)


@dataclass(frozen=True)
class Layout:
    """All files that hold tensors."""

    shards: tuple[Shard, ...]

    @property
    def nbytes(self) -> int:
        """Length of all files."""
        return sum(shard.nbytes for shard in self.shards)

    @property
    def index(self) -> bytes:
        """The content of `model.safetensors.index.json`: which file holds which tensor."""
        place = {slot.name: shard.file for shard in self.shards for slot in shard.slots}
        size = self.nbytes - sum(len(shard.header) for shard in self.shards)
        return json.dumps({"metadata": {"total_size": size}, "weight_map": dict(sorted(place.items()))}, indent=2).encode() + b"\n"


def lay_out(weights: Weights, file: str, limit: int | None, metadata: Mapping[str, str]) -> Layout:
    """Assign every physical tensor a file and an offset.

    Tensors fill shards in the set's order; a shard that would pass `limit` bytes of data is closed first. Aliases take no
    room: they are named in their owner's header, as `safetensors.torch.save_model` does.

    Args:
        weights: only its names, shapes, dtypes and ties are looked at.
        file: name of the file where one is enough; of several, `x.safetensors` becomes `x-00001-of-00003.safetensors`.
        limit: most bytes of data in one file; a larger tensor has a file of its own. None: one file.
        metadata: strings for the header.

    Raises:
        BadParameter: the metadata are not strings or hide a tied name, or a tensor is called `__metadata__`.
        OutputError: a dtype that safetensors does not store, or more tensors than a header may list.
    """
    _check(weights, metadata)
    groups = list(_groups(weights, limit))
    stem = file.removesuffix(".safetensors")
    several = (f"{stem}-{i:05}-of-{len(groups):05}.safetensors" for i in range(1, len(groups) + 1))
    names = [file] if len(groups) == 1 else several
    return Layout(tuple(_shard(weights, name, group, metadata) for name, group in zip(names, groups, strict=True)))


def bytes_of(size: str | int | None) -> int | None:
    """A size in bytes out of words such as "5GB" (10^9) or "500MiB" (2^20).

    >>> bytes_of("5GB"), bytes_of("1.5KiB"), bytes_of(7)
    (5000000000, 1536, 7)
    """
    if size is None:
        return None
    found = re.fullmatch(r"([0-9.]+) *([KMGT]?i?B?)", str(size).strip())
    try:
        count = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    except (KeyError, ValueError):
        count = 0
    if count < 1:
        raise BadParameter(f"a shard size is a positive number of bytes or words like '5GB' or '500MiB', found {size!r}.")
    return count


def _check(weights: Weights, metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        if type(key) is not str or type(value) is not str:
            raise BadParameter(f"metadata of a weight file are strings; found {key!r}: {value!r} ({type(value).__name__}).")
        if key in weights or value in weights:
            raise BadParameter(f"metadata {key!r}: {value!r} would read as a shared tensor, since a tensor has that name; call it otherwise.")
    if "__metadata__" in weights:
        raise BadParameter("no tensor can be called '__metadata__' in a safetensors file; rename it.")
    if strange := [name for name, spec in weights.spec.items() if spec.dtype not in CODES]:
        raise OutputError(f"safetensors has no code for the dtype of {listed(strange)} ({weights.spec[strange[0]].dtype}); cast or leave out these tensors.")


def _groups(weights: Weights, limit: int | None) -> Iterator[list[str]]:
    group: list[str] = []
    held = 0
    for name in weights.physical:
        size = weights.spec[name].nbytes
        if group and limit is not None and held + size > limit:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    yield group


def _shard(weights: Weights, file: str, names: list[str], metadata: Mapping[str, str]) -> Shard:
    names = sorted(names, key=lambda name: (_RANK[weights.spec[name].dtype], name))
    mine = set(names)
    ties = {alias: owner for alias, owner in weights.ties.items() if owner in mine}
    entries: dict[str, object] = {"__metadata__": {"format": "pt", **metadata, **ties}}
    end, ends = 0, []
    for name in names:
        spec = weights.spec[name]
        entries[name] = {"dtype": CODES[spec.dtype], "shape": _stored(spec), "data_offsets": [end, end + spec.nbytes]}
        ends.append(end)
        end += spec.nbytes
    header = _header(entries, file)
    slots = (Slot(name, weights.spec[name], len(header) + start) for name, start in zip(names, ends, strict=True))
    return Shard(file, header, tuple(slots))


def _stored(spec: Spec) -> list[int]:
    """The shape that the header tells: torch counts pairs of F4 entries, the file counts entries."""
    return [*spec.shape[:-1], 2 * spec.shape[-1]] if CODES[spec.dtype] == "F4" else list(spec.shape)


def _header(entries: Mapping[str, object], file: str) -> bytes:
    words = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 8)
    if len(words) > _LONGEST_HEADER:
        raise OutputError(f"{file} would hold {len(entries) - 1} tensors, more than the header of a safetensors file can list; choose a smaller shard_size.")
    return len(words).to_bytes(8, "little") + words
