"""Open one file of weights by what it is, not only by how it is called."""

from pathlib import Path

from ..errors import BrokenFile
from .safetensors_file import open_safetensors
from .store import Stamp, Store
from .torch_file import open_torch

_FOREIGN = {b"GGUF": "GGUF", b"\x89HDF": "HDF5 (Keras)", b"\x93NUM": "NumPy"}


def open_file(path: Path) -> Store:
    """The tensors of a safetensors or torch file; names without a known suffix (a cache's blobs) are told by their first bytes.

    Raises:
        BrokenFile: the file is damaged or of another kind.
        UnsafeFile: it is a pickle that asks for more than tensors.
    """
    stamp = Stamp.of(path)
    start = _start(path)
    if start[:4] in _FOREIGN:
        raise BrokenFile(f"{path}: a {_FOREIGN[start[:4]]} file, which is not understood; convert it to safetensors first.")
    if path.suffix == ".safetensors" or (start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= stamp.size):
        return open_safetensors(path)
    return open_torch(path)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(16)
    except OSError as error:
        raise BrokenFile(f"{path}: cannot be read: {error.strerror}.") from error
