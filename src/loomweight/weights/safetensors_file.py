"""Read a safetensors file without copying: blocks are views of the mapped file.

The file is mapped at the first read, privately: a write into a view would change that page of this process alone, never
the file. A mapping holds no file descriptor, and its pages are not private memory. Measured on warm 1 GB of bfloat16 taken
by blocks and cast to float32, the plain mapping costs half of `preadv`, and madvise (SEQUENTIAL, WILLNEED, POPULATE_READ) gains nothing.
"""

import mmap
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BrokenFile
from .header import Entry, read_header
from .spec import Block
from .store import Stamp, Store

_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def open_safetensors(path: Path) -> Store:
    """The tensors of a safetensors file. Only its header is read.

    Shared tensors that `safetensors.torch.save_model` left out are restored as ties: it notes them in the metadata as
    alias -> kept name. It notes a transposed or partial view in the same way, which no reader can tell from a whole one.

    Raises:
        BrokenFile: the file is damaged; see header.py.
    """
    stamp = Stamp.of(path)
    header = read_header(path, stamp.size)
    ties = _ties(header.entries, header.metadata)
    spec = {name: entry.spec for name, entry in header.entries.items()}
    spec |= {alias: spec[owner] for alias, owner in ties.items()}
    contents = cache(lambda: _mapped(path, stamp.size))
    return Store(stamp, spec, ties, lambda name: _block(contents, header.entries[name]))


def _ties(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> dict[str, str]:
    return {alias: kept for alias, kept in metadata.items() if kept in entries and alias not in entries and alias != "format"}


def _block(contents: Callable[[], Tensor], entry: Entry) -> Block:
    spec, size = entry.spec, entry.spec.dtype.itemsize
    if not spec.numel:
        return lambda lo, hi: torch.empty(0, dtype=spec.dtype)
    stored = contents()[entry.start : entry.stop]
    if entry.start % size == 0:
        flat = stored.view(spec.dtype)
        return lambda lo, hi: flat[lo:hi]
    return lambda lo, hi: stored[lo * size : hi * size].clone().view(spec.dtype)  # torch views aligned memory only


def _mapped(path: Path, size: int) -> Tensor:
    """The bytes of the file, uint8."""
    try:
        if size < _memory() // 2 and str(path).isprintable():
            return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
        return torch.frombuffer(_large(path, size), dtype=torch.uint8)
    except (OSError, RuntimeError, ValueError) as error:
        raise BrokenFile(f"{path}: cannot be mapped: {error}.") from error


def _large(path: Path, size: int) -> mmap.mmap:
    """A private mapping of what may be larger than the memory: the system refuses it unless it reserves nothing.

    Python's mapping holds a file descriptor as long as it lives, torch's does not; but so large files are few.
    """
    with path.open("rb") as file:
        if sys.platform != "linux":
            return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
        return mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE | _NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE)


@cache
def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 32
