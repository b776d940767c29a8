"""The state of an average in one safetensors file: tensors as tensors, numbers and words in the header. Nothing in it can run code."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import BadParameter, BrokenFile
from ..weights import Weights, load, save
from .track import Track

_KEY = "average"
_TENSOR = "tensor:"


def save_state(track: Track, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write everything there is to resume the average, whole or not at all; `load_state` gives every bit back.

    Args:
        track: any average.
        path: a file that ends in `.safetensors`.
        overwrite: replace a file that exists.

    Raises:
        OutputError: the file exists, or cannot be written.
        BadParameter: the path ends otherwise, or the state holds something that is no number, word, tensor, list or dict of these.

    >>> import tempfile
    >>> model = torch.nn.Linear(1, 1)
    >>> ema = lw.trajectory.EMA(model, half_life=100)
    >>> _ = ema.update()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_state(ema, f"{folder}/ema.safetensors")
    ...     again = load_state(lw.trajectory.EMA(model, half_life=100), path)
    >>> again.count
    1
    """
    if Path(path).suffix != ".safetensors":
        raise BadParameter(f"the state of an average is one file: its name must end in .safetensors, found {str(path)!r}.")
    tensors: dict[str, Tensor] = {}
    words = json.dumps(_plain(track.state_dict(), "", tensors))
    return save(Weights.of(tensors, "the state of an average"), path, shard_size=None, metadata={_KEY: words}, overwrite=overwrite)


def load_state(track: Track, path: str | Path) -> Track:
    """Go on from a file that `save_state` has written; the track comes back.

    Raises:
        BrokenFile: it is no such file.
        NamesDiffer, ShapesDiffer: it is the state of another model.
        BadParameter: it is the state of another kind of average.
    """
    from safetensors import safe_open

    weights = load(path)
    with safe_open(path, "pt") as file:
        words = dict(file.metadata() or {})
    if _KEY not in words:
        raise BrokenFile(f"{path}: no state of an average; it lacks {_KEY!r} in its header. Weights alone are read by load().")
    return track.load_state_dict(_whole(json.loads(words[_KEY]), lambda name: weights[name].clone()))


def _plain(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """JSON in which a tensor is its name; the tensors go into the dict."""
    match value:
        case Tensor():
            tensors[where] = value.detach()
            return f"{_TENSOR}{where}"
        case Mapping():
            return {key: _plain(inner, f"{where}/{key}".lstrip("/"), tensors) for key, inner in value.items()}
        case list():
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
