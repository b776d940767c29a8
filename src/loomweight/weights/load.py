"""`load`: weights out of whatever holds them. Names, shapes and dtypes now, data when asked for."""

import copy
import os
from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import BadParameter, BrokenFile, UnknownName
from .adapter import apply_adapter, load_adapter
from .adapter_config import NAME as ADAPTER
from .assemble import assemble
from .folder import STANDARD, weight_files
from .locate import locate
from .memory import from_tensors
from .names import listed
from .open_file import open_file
from .order import natural
from .shard_index import SUFFIX, check_index, inside, read_index
from .weights import Weights

Source = str | os.PathLike[str] | Mapping[str, Any] | nn.Module | Weights


def load(x: Source, *, label: str | None = None) -> Weights:
    """Open weights without reading their data; nothing is copied, and blocks are views of the mapped files.

    `x` is one of:

    - a safetensors or torch file. A torch file is read as tensors only, never as code; a checkpoint that holds exactly one
      state dict under `state_dict`, `model_state_dict`, `model` or `module` is opened at it, and the label says so;
    - an index (`*.index.json`), or a folder: a Hugging Face model, sharded or not, or any safetensors or torch files together.
      folder.py has the order in which files are looked for (safetensors before torch files);
    - a folder with a PEFT adapter: a delta on named tensors of its base, see `apply_adapter` for DoRA;
    - `"base+adapter"`: the adapter folded into its base, where no such path exists;
    - the id of a Hugging Face repository that is in the local cache, `owner/name` or `owner/name@revision`;
    - a module, a state dict, or `Weights`, which are returned as they are.

    Names are in natural order, whatever the files; of several names for one tensor the first is the owner.

    Args:
        x: what holds the weights.
        label: a short word for messages; by default the file's or the folder's name.

    Raises:
        UnknownName: there is no such path; the message has the nearest names.
        BrokenFile: a file is damaged, missing, at odds with the index, or of another kind.
        UnsafeFile: a file asks for code to run, or for another file outside its folder.

    >>> import torch
    >>> load({"w.10": torch.ones(2), "w.9": torch.zeros(3)}, label="two vectors")
    Weights(two vectors, 2 tensors, 5 parameters, float32)
    """
    return _load(x, label)


@singledispatch
def _load(x: object, label: str | None) -> Weights:
    raise BadParameter(f"cannot load a {type(x).__name__}: give a path, a module, a state dict or Weights.")


@_load.register(Weights)
def _weights(x: Weights, label: str | None) -> Weights:
    if label is None or label == x.label:
        return x
    named = copy.copy(x)
    named.label = label
    return named


@_load.register(nn.Module)
def _module(x: nn.Module, label: str | None) -> Weights:
    return _mapping(x.state_dict(keep_vars=True), label or type(x).__name__)


@_load.register(Mapping)
def _mapping(x: Mapping[Any, Any], label: str | None) -> Weights:
    if other := [name for name in x if not isinstance(name, str)]:
        raise BadParameter(f"a state dict maps words to tensors, found the key {other[0]!r}.")
    return from_tensors({name: x[name] for name in natural(x)}, label or "")


@_load.register(str)
@_load.register(os.PathLike)
def _path(x: str | os.PathLike[str], label: str | None) -> Weights:
    text = os.fspath(x)
    try:
        path = locate(text)
    except UnknownName:
        folded = _folded(text, label)
        if folded is None:
            raise
        return folded
    if path.is_dir():
        return _folder(path, label or (path.resolve().name if Path(text).is_dir() else text))
    if path.name.endswith(SUFFIX):
        return _sharded(path, label or path.resolve().parent.name)
    store = open_file(path)
    return assemble([store], label or path.stem + store.inside, (path.absolute(),))


def _folded(text: str, label: str | None) -> Weights | None:
    """`base+adapter`: the last plus sign behind which stands something that exists."""
    for at in range(len(text) - 1, 0, -1):
        if text[at] == "+":
            try:
                adapter = locate(text[at + 1 :])
            except UnknownName:
                continue
            return apply_adapter(load(text[:at]), adapter, label=label)
    return None


def _folder(folder: Path, label: str) -> Weights:
    if (folder / ADAPTER).exists():
        _refuse_both(folder)
        return load_adapter(folder, label)
    files, index = weight_files(folder)
    if index:
        return _sharded(index, label)
    return assemble([open_file(file) for file in files], label, (folder.absolute(), *(file.absolute() for file in files)))


def _refuse_both(folder: Path) -> None:
    if full := [name for name in (*STANDARD, *(name + SUFFIX for name in STANDARD)) if (folder / name).exists()]:
        raise BrokenFile(f"{folder}: holds an adapter and also {listed(full)}; load the file that you mean, or give the adapter a folder of its own.")


def _sharded(index: Path, label: str) -> Weights:
    listed_in = read_index(index)
    files = [inside(index.parent, name, index) for name in natural(set(listed_in.values()))]
    stores = [open_file(file) for file in files]
    check_index(index, listed_in, stores)
    return assemble(stores, label, (index.parent.absolute(), *(file.absolute() for file in files)))
