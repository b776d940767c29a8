"""Read what `torch.save` wrote: tensors only, never code."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import BrokenFile, UnsafeFile
from .memory import from_tensors
from .names import listed
from .order import natural
from .store import Stamp, Store

#: Keys under which training code keeps the weights inside a larger checkpoint.
INNER = ("state_dict", "model_state_dict", "model", "module")
#: where `trajectory.lightning_callback` keeps the weights that are trained, beside the average under `state_dict`
_TRAINED = "trained_state_dict"


def open_torch(path: Path) -> Store:
    """The tensors of a torch file: a state dict, or a checkpoint that holds exactly one under a key of `INNER`.

    Zip files (torch 1.6 and later) are mapped, so that only names and shapes are read; the older format is read whole into memory.

    Raises:
        UnsafeFile: the pickle asks for anything but tensors and plain containers, or the file is TorchScript.
        BrokenFile: the file is damaged, or holds no state dict, or holds several.
    """
    stamp = Stamp.of(path)
    tensors, key = _state_dict(path, _contents(path))
    inside = from_tensors({name: tensors[name] for name in natural(tensors)}, f"{path}{key}")
    return Store(stamp, inside.spec, inside.ties, inside.open, key)


def is_zip(path: Path) -> bool:
    """True where the file begins like a zip archive, which is what `torch.save` writes."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _contents(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch would warn of ends in one of the errors below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip(path))
    except pickle.UnpicklingError as error:
        raise UnsafeFile(f"{path}: {_asked(str(error))}, which can run code and is never done; save the state dict alone, best as safetensors.") from error
    except Exception as error:  # torch's reader documents no errors: a damaged file has ended in any of ten kinds
        if "TorchScript" in str(error):
            raise UnsafeFile(f"{path}: a TorchScript archive, which holds code; save its state dict, best as safetensors.") from error
        said = (str(error) or type(error).__name__).split(". ")[0].rstrip(".")
        raise BrokenFile(f"{path}: not a whole torch file: {said}; copy or download it again.") from error


def _asked(message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", message)
    return f"the pickle asks for {found[1]}" if found else "the pickle asks for more than tensors"


def _state_dict(path: Path, found: Any) -> tuple[dict[str, Tensor], str]:
    """The tensors, and the key in brackets under which they were."""
    if not isinstance(found, Mapping):
        raise BrokenFile(f"{path}: expected a state dict, found a {type(found).__name__}.")
    if _tensors(found):
        return dict(found), ""
    inner = [key for key, value in found.items() if isinstance(value, Mapping) and _tensors(value)]
    inner = [key for key in inner if key != _TRAINED or "state_dict" not in inner]
    if len(inner) == 1 and inner[0] in INNER and not any(isinstance(value, Tensor) for value in found.values()):
        return dict(found[inner[0]]), f"[{inner[0]!r}]"
    holds = listed(f"{key} ({type(value).__name__})" for key, value in found.items())
    raise BrokenFile(f"{path}: no state dict, or not clearly one: it holds {holds or 'nothing'}; read it with torch.load and pass the dict that you mean.")


def _tensors(found: Mapping[Any, Any]) -> bool:
    return bool(found) and all(type(name) is str and isinstance(value, Tensor) for name, value in found.items())
