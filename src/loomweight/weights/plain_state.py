"""A state of plain data and tensors in one safetensors file, or in bytes of that form: tensors as tensors, numbers and words in the header.

Nothing in it can run code.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import BadParameter, BrokenFile
from .load import load
from .memory import from_tensors
from .write import save

_TENSOR = "tensor:"


def save_plain_state(state: Mapping[str, Any], path: str | Path, key: str, *, overwrite: bool = False) -> Path:
    """Write a state, whole or not at all; `load_plain_state` gives every bit back.

    Args:
        state: numbers, words, None, tensors, and lists and dicts of these.
        path: a file that ends in `.safetensors`.
        key: what kind of state it is: the word in the header that reading asks for.
        overwrite: replace a file that exists.

    Raises:
        OutputError: the file exists, or cannot be written.
        BadParameter: the path ends otherwise, or the state holds something else.
    """
    if Path(path).suffix != ".safetensors":
        raise BadParameter(f"a state is one file: its name must end in .safetensors, found {str(path)!r}.")
    tensors: dict[str, Tensor] = {}
    words = json.dumps(_plain(state, "", tensors))
    return save(from_tensors(tensors, f"the state of {_a(key)}"), path, shard_size=None, metadata={key: words}, overwrite=overwrite)


def load_plain_state(path: str | Path, key: str) -> Any:
    """The state that `save_plain_state` has written; keys of dicts are words, tuples are lists.

    Raises:
        BrokenFile: it is no such file.
    """
    from safetensors import safe_open

    weights = load(path)
    with safe_open(path, "pt") as file:
        words = dict(file.metadata() or {})
    if key not in words:
        raise BrokenFile(f"{path}: no state of {_a(key)}; it lacks {key!r} in its header. Weights alone are read by load().")
    return _whole(json.loads(words[key]), lambda name: weights[name].clone())


def packed_state(state: Mapping[str, Any], key: str) -> bytes:
    """The same in memory, to be sent: `opened_state` gives every bit back.

    Raises:
        BadParameter: the state holds something else than numbers, words, None, tensors, and lists and dicts of these.

    >>> opened_state(packed_state({"w": torch.tensor([1.5]), "n": 2}, "doc"), "doc")
    {'w': tensor([1.5000]), 'n': 2}
    """
    from safetensors.torch import save as safetensors_bytes

    tensors: dict[str, Tensor] = {}
    words = json.dumps(_plain(state, "", tensors))
    return safetensors_bytes({name: tensor.cpu().clone().contiguous() for name, tensor in tensors.items()}, {key: words})


def opened_state(data: bytes, key: str) -> Any:
    """The state of these bytes; keys of dicts are words, tuples are lists.

    Raises:
        BrokenFile: they are something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as safetensors_tensors

    try:
        length = int.from_bytes(data[:8], "little")
        words = json.loads(data[8 : 8 + length])["__metadata__"][key]
        tensors = safetensors_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BrokenFile(f"{len(data)} bytes that came as the state of {_a(key)} are none: {type(error).__name__}.") from error
    return _whole(json.loads(words), lambda name: tensors[name])


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _plain(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """JSON in which a tensor is its name; the tensors go into the dict."""
    match value:
        case Tensor():
            while where in tensors:  # {"a": {"b/c": ...}, "a/b": {"c": ...}}
                where += "'"
            tensors[where] = value.detach()
            return f"{_TENSOR}{where}"
        case Mapping():
            return {key: _plain(inner, f"{where}/{key}".lstrip("/"), tensors) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner, f"{where}/{i}", tensors) for i, inner in enumerate(value)]
        case None | str() | int() | float() if not str(value).startswith(_TENSOR):
            return value
    raise BadParameter(f"{where!r} of the state is a {type(value).__name__}; a state holds numbers, words, tensors, and lists and dicts of these.")


def _whole(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    match value:
        case dict():
            return {key: _whole(inner, tensor) for key, inner in value.items()}
        case list():
            return [_whole(inner, tensor) for inner in value]
        case str() if value.startswith(_TENSOR):
            return tensor(value.removeprefix(_TENSOR))
    return value
