"""The index of a sharded checkpoint: which file holds which tensor. It is input, so it is not trusted."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import BrokenFile, UnsafeFile
from .json_file import read_json
from .names import listed
from .store import Store

SUFFIX = ".index.json"


def read_index(path: Path) -> dict[str, str]:
    """Tensor name -> file name, from the `weight_map` of a `*.index.json`.

    Raises:
        UnsafeFile: a file name is anything but a plain name, so that it may lead out of the folder.
        BrokenFile: not JSON, no weight_map, or one that does not map names to names.
    """
    found = read_json(path).get("weight_map")
    if not isinstance(found, dict) or not found or not all(type(file) is str for file in found.values()):
        raise BrokenFile(f"{path}: expected weight_map, an object of tensor name -> file name; is this the index of a sharded checkpoint?")
    for name in set(found.values()):
        if name in ("", ".", "..") or any(char in name for char in "/\\\0"):
            raise UnsafeFile(f"{path}: names the file {name!r}; only plain names of files in the same folder are read.")
    return found


def inside(folder: Path, name: str, asked_by: Path) -> Path:
    """The file of that plain name in the folder.

    Rule: after links are followed, the file is in the folder. The one exception is the Hugging Face cache, where
    `snapshots/<revision>/name` links to `blobs` beside `snapshots`.

    Raises:
        UnsafeFile: the name is a link that leads out of the folder.
        BrokenFile: there is no such file.
    """
    path, home = folder / name, folder.resolve()
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:  # not there, links in a circle, a name that no file can have
        raise BrokenFile(f"{asked_by}: the file {name!r} is missing, or a link to nothing; copy or download the folder again.") from error
    blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else home
    if home not in target.parents and target.parent != blobs:
        raise UnsafeFile(f"{path}: a link to {target}, outside the folder; put the file itself there, or load the target.")
    return path


def check_index(path: Path, listed_in: Mapping[str, str], stores: Iterable[Store]) -> None:
    """Raise where the index and its shards disagree: two readers would see two models."""
    for store in stores:
        file = store.stamp.path.name
        promised = {name for name, home in listed_in.items() if home == file}
        if lacking := promised - set(store.spec):
            raise BrokenFile(f"{path}: lists {listed(lacking)} in {file!r}, which lacks it.")
        if extra := set(store.spec) - set(store.ties) - promised:
            raise BrokenFile(f"{path}: {file!r} holds {listed(extra)}, which the index does not list there.")
