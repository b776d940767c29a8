"""The header of a safetensors file, read and checked here so that every damage has a message with file and tensor.

Format: 8 bytes, little endian: the length n of the header; n bytes of JSON, name -> dtype, shape, data_offsets; then the
data, which the offsets cover without overlap or hole (https://github.com/safetensors/safetensors#format). The limit of
100 MB on n is theirs. Nothing of the data is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from ..errors import BrokenFile
from .json_file import parse_json
from .spec import Spec

LONGEST = 100_000_000

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F4": torch.float4_e2m1fn_x2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Entry:
    """One tensor of the file: what it is, and the bytes [start, stop) of the file that hold it."""

    spec: Spec
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """All tensors of the file and its free words."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]


def read_header(path: Path, size: int) -> Header:
    """Read the header of a file of `size` bytes.

    Raises:
        BrokenFile: anything but a whole and consistent safetensors file; the message names the file and the tensor.
    """
    raw = _raw(path, size)
    table = parse_json(raw, f"{path}: the safetensors header")
    metadata = _metadata(path, table.pop("__metadata__", None))
    data = 8 + len(raw)
    entries = {name: _entry(path, name, found, data) for name, found in table.items()}
    _covered(path, entries, data, size)
    return Header(entries, metadata)


def _raw(path: Path, size: int) -> bytes:
    if size < 8:
        raise BrokenFile(f"{path}: {size} bytes are no safetensors file (its first 8 bytes hold the length of the header); copy or download it again.")
    try:
        with path.open("rb", buffering=0) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LONGEST:
                raise BrokenFile(f"{path}: the header claims {length} bytes, the format allows {LONGEST}; this is no safetensors file, or a damaged one.")
            if length > size - 8:
                raise BrokenFile(f"{path}: the header claims {length} bytes, but the file ends {size - 8} bytes after its length; copy or download it again.")
            raw = file.read(length)
    except OSError as error:
        raise BrokenFile(f"{path}: cannot be read: {error.strerror}.") from error
    if len(raw) != length:
        raise BrokenFile(f"{path}: the file became shorter while its header was read; load it when nobody writes to it.")
    return raw


def _metadata(path: Path, found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(type(value) is str for value in found.values()):
        raise BrokenFile(f"{path}: __metadata__ must map words to words, found {str(found)[:80]!r}.")
    return found


def _entry(path: Path, name: str, found: Any, data: int) -> Entry:
    where = f"{path}: tensor {name!r}"
    if not name.isascii() and name.encode(errors="replace").decode() != name:
        raise BrokenFile(f"{where}: the name is not valid Unicode.")
    if not isinstance(found, dict) or not {"dtype", "shape", "data_offsets"} <= found.keys():
        raise BrokenFile(f"{where}: expected dtype, shape and data_offsets, found {str(found)[:80]!r}.")
    spec = _spec(where, found["dtype"], found["shape"])
    start, stop = _offsets(where, found["data_offsets"])
    if stop - start != spec.nbytes:
        raise BrokenFile(f"{where}: {found['dtype']} of shape {spec.shape} needs {spec.nbytes} bytes, its data_offsets hold {stop - start}.")
    return Entry(spec, data + start, data + stop)


def _spec(where: str, word: Any, shape: Any) -> Spec:
    if type(word) is not str or word not in DTYPES:
        raise BrokenFile(f"{where}: unknown dtype {str(word)[:80]!r}; known: {', '.join(DTYPES)}.")
    if not isinstance(shape, list) or len(shape) > 64 or not all(type(length) is int and 0 <= length < 1 << 63 for length in shape):
        raise BrokenFile(f"{where}: the shape must be a list of at most 64 whole numbers from 0, found {str(shape)[:80]}.")
    if prod(length for length in shape if length) >= 1 << 63:
        raise BrokenFile(f"{where}: the shape {str(shape)[:80]} has more entries than any memory.")
    if word == "F4":  # torch counts pairs, the file counts entries
        if not shape or shape[-1] % 2:
            raise BrokenFile(f"{where}: F4 packs two entries a byte, so the last length must be even, found {shape}.")
        shape = [*shape[:-1], shape[-1] // 2]
    return Spec(tuple(shape), DTYPES[word])


def _offsets(where: str, found: Any) -> tuple[int, int]:
    if not isinstance(found, list) or len(found) != 2 or not all(type(place) is int for place in found):
        raise BrokenFile(f"{where}: data_offsets must be two whole numbers, found {str(found)[:80]}.")
    start, stop = found
    if not 0 <= start <= stop:
        raise BrokenFile(f"{where}: data_offsets must satisfy 0 <= start <= stop, found {str(found)[:80]}.")
    return start, stop


def _covered(path: Path, entries: dict[str, Entry], data: int, size: int) -> None:
    ordered = sorted(entries, key=lambda name: (entries[name].start, entries[name].stop))
    at, before = data, ""
    for name in ordered:
        start, stop = entries[name].start, entries[name].stop
        if stop > size:
            raise BrokenFile(f"{path}: tensor {name!r} ends at byte {stop}, but the file has {size}: it is truncated; copy or download it again.")
        if start < at:
            raise BrokenFile(f"{path}: tensors {before!r} and {name!r} overlap at byte {start}.")
        if start > at:
            raise BrokenFile(f"{path}: {start - at} bytes before tensor {name!r} belong to no tensor.")
        at, before = stop, name
    if at != size:
        raise BrokenFile(f"{path}: {size - at} bytes after the last tensor belong to no tensor.")
