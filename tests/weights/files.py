"""Weight files for tests: hand-made safetensors, whatever their header says, and what hypothesis draws."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

#: Every dtype that safetensors 0.8 writes and torch has.
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu, torch.float4_e2m1fn_x2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool),
]
#: Those that the format of torch before 1.6 can hold.
DTYPES_OF_OLD_TORCH = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
SHAPES = [(), (0,), (1,), (7,), (2, 3), (4, 0, 2), (2, 2, 3)]


def entry(dtype: str, shape: list[Any], start: Any, stop: Any) -> dict[str, Any]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def write(path: Path, header: Mapping[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> Path:
    """A file with this header, right or wrong; `length` is what its first 8 bytes claim."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def sparse(path: Path, header: Mapping[str, Any], size: int) -> Path:
    """A file whose data are a hole of `size` bytes: it costs no disk, and reading it takes time."""
    write(path, header)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    return path


def from_bits(raw: bytes, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor with exactly these bits."""
    bits = torch.tensor(list(raw), dtype=torch.uint8)
    return (bits & 1 if dtype == torch.bool else bits).view(dtype).reshape(shape)


def bits(tensor: Tensor) -> list[int]:
    """The bytes of a tensor: NaN equals NaN, and -0 is not 0."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@st.composite
def state_dicts(draw: st.DrawFn, dtypes: list[torch.dtype] = DTYPES) -> dict[str, Tensor]:
    """Up to five tensors of any dtype, shape, bits and name."""
    names = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), unique=True, max_size=5))
    found = {}
    for name in names:
        dtype = draw(st.sampled_from(dtypes))
        shape = draw(st.sampled_from(SHAPES[dtype == torch.float4_e2m1fn_x2 :]))  # a scalar has no pair to pack
        size = torch.Size(shape).numel() * dtype.itemsize
        found[name] = from_bits(draw(st.binary(min_size=size, max_size=size)), shape, dtype)
    return found
