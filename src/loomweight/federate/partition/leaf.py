"""Data sets in LEAF's form: JSON files with users, their data, and how much each has.

Paper: LEAF: A Benchmark for Federated Settings (2018, https://arxiv.org/abs/1812.01097). Code read: TalwalkarLab/leaf at 09ec454a,
models/utils/model_utils.py and data/femnist/preprocess/data_to_json.py. It joins the files of a folder and lets a user in two of them have the later
one's data alone; here that is an error. Numbers of samples, which it does not read, are checked.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import BrokenFile
from .partition import Data

Make = Callable[[list], Tensor]


def leaf(path: str | Path, inputs: Make | None = None, labels: Make | None = None) -> dict[str, Data]:
    """Each user's (x, y), read from a file or from all `.json` files of a folder; users in order.

    Args:
        path: such as `data/femnist/data/train`. Test data lies in a folder of its own, and is read on its own.
        inputs: makes a tensor of a user's list of inputs; needed where they are text. By default numbers become float32.
        labels: the same for labels; by default whole numbers become int64, others float32.

    Raises:
        BrokenFile: a file is no JSON (cut off, for example), or not of LEAF's form, or its numbers do not fit each other; the message names file and user.

    >>> import json, pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "all_data_0.json"
    >>> _ = file.write_text(json.dumps({"users": ["f1"], "num_samples": [2], "user_data": {"f1": {"x": [[0.0], [0.5]], "y": [3, 7]}}}))
    >>> leaf(file)
    {'f1': (tensor([[0.0000],
            [0.5000]]), tensor([3, 7]))}
    """
    place = Path(path)
    files = sorted(place.glob("*.json")) if place.is_dir() else [place]
    if not files:
        raise BrokenFile(f"{place} holds no .json file: give the folder that LEAF wrote, such as .../data/train.")
    found: dict[str, Data] = {}
    for file in files:
        for user, data in _users(file, inputs or _numbers, labels or _whole_numbers).items():
            if user in found:
                raise BrokenFile(f"{file}: the user {user!r} is in another file of {place} too; each user's data is in one file.")
            found[user] = data
    return dict(sorted(found.items()))


def _users(file: Path, inputs: Make, labels: Make) -> dict[str, Data]:
    held = _read(file)
    names, sizes, data = (held[key] for key in ("users", "num_samples", "user_data"))
    if odd := [name for name in names if not isinstance(name, str)]:
        raise BrokenFile(f"{file}: a user's name is a word, found {odd[0]!r}.")
    if len(names) != len(sizes) or len(set(names)) != len(names) or set(names) != set(data):
        found = f"{len(names)}, {len(sizes)} and {len(data)} users"
        raise BrokenFile(f"{file}: users, num_samples and user_data list {found}, not the same ones, each once; write it anew.")
    return {name: _tensors(f"{file}: user {name!r}", data[name], size, inputs, labels) for name, size in zip(names, sizes, strict=True)}


def _read(file: Path) -> dict[str, Any]:
    try:
        held = json.loads(file.read_bytes(), parse_constant=_no_number)
    except OSError as error:
        raise BrokenFile(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise BrokenFile(f"{file} is no JSON, or cut off: {error}.") from error
    wanted = {"users": list, "num_samples": list, "user_data": dict}
    wrong = [key for key, kind in wanted.items() if not isinstance(held, dict) or not isinstance(held.get(key), kind)]
    if wrong:
        raise BrokenFile(f"{file} is not of LEAF's form, an object with the lists users and num_samples and the object user_data; wrong: {', '.join(wrong)}.")
    return held


def _tensors(where: str, data: Any, size: int, inputs: Make, labels: Make) -> Data:
    if not isinstance(data, dict) or not isinstance(data.get("x"), list) or not isinstance(data.get("y"), list):
        raise BrokenFile(f"{where} has no lists x and y.")
    if not len(data["x"]) == len(data["y"]) == size:
        raise BrokenFile(f"{where} has {len(data['x'])} inputs and {len(data['y'])} labels where num_samples says {size}; the file is cut off or was edited.")
    return _made(where, "inputs", data["x"], inputs), _made(where, "labels", data["y"], labels)


def _made(where: str, what: str, values: list, make: Make) -> Tensor:
    try:
        made = make(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BrokenFile(f"{where}: no tensor can be made of its {what} ({error}); text needs `{what}=`, a function from a list to a tensor.") from error
    if len(made) != len(values):
        raise BrokenFile(f"{where}: `{what}=` made {len(made)} rows of {len(values)} samples.")
    return made


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _numbers(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _whole_numbers(values: list) -> Tensor:
    made = torch.tensor(values)
    return made.float() if made.is_floating_point() else made.long()
