"""Which files of a folder make up its weights. Two possible answers are an error, never a guess.

Order, as in transformers: safetensors before torch files; `model.safetensors` or its index (`pytorch_model.bin` or its
index); else the only index of another name (`diffusion_pytorch_model`); else all files together, whose names must differ.
Files of other names beside a standard name or an index (`consolidated.safetensors`, `optimizer.pt`) are not its weights.
"""

import re
from collections import defaultdict
from pathlib import Path

from ..errors import BrokenFile
from .names import listed
from .shard_index import SUFFIX, inside, read_index

SAFETENSORS = (".safetensors",)
TORCH = (".bin", ".pt", ".pth", ".ckpt")
STANDARD = ("model.safetensors", "pytorch_model.bin")

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<suffix>\.[a-z]+)")


def weight_files(folder: Path) -> tuple[list[Path], Path | None]:
    """The weight files of a folder, and the index that lists them, if there is one.

    Raises:
        BrokenFile: there are none; shards are missing; or the files of two saves are mixed.
        UnsafeFile: a file is a link that leaves the folder.
    """
    names = sorted(entry.name for entry in folder.iterdir() if not entry.is_dir() and not entry.name.startswith("."))
    for suffixes in (SAFETENSORS, TORCH):
        files = [name for name in names if name.endswith(suffixes)]
        indexes = [name for name in names if name.endswith(tuple(suffix + SUFFIX for suffix in suffixes))]
        if files or indexes:
            chosen, index = _choose(folder, files, indexes)
            return [inside(folder, name, index or folder) for name in chosen], index
    raise BrokenFile(_nothing(folder, names))


def _choose(folder: Path, files: list[str], indexes: list[str]) -> tuple[list[str], Path | None]:
    standard = _standard(folder, files, indexes)
    if standard is None:
        _check_numbers(folder, files)
        return files, None
    shards = {name for name in files if (found := _SHARD.fullmatch(name)) and found["stem"] + found["suffix"] == standard}
    if standard + SUFFIX not in indexes:
        _refuse_mixture(folder, standard, shards)
        return [standard], None
    index = folder / (standard + SUFFIX)
    chosen = set(read_index(index).values())
    single = {standard} & set(files)
    _refuse_mixture(folder, index.name, (shards | single) - chosen)
    return sorted(chosen), index


def _standard(folder: Path, files: list[str], indexes: list[str]) -> str | None:
    for name in STANDARD:
        if name in files or name + SUFFIX in indexes:
            return name
    if len(indexes) > 1:
        raise BrokenFile(f"{folder}: holds several indexes: {listed(indexes)}; load the one that you mean.")
    return indexes[0].removesuffix(SUFFIX) if indexes else None


def _refuse_mixture(folder: Path, chosen: str, others: set[str]) -> None:
    if others:
        raise BrokenFile(f"{folder}: holds {chosen!r} and also {listed(others)} of another save; one is stale: remove it, or load the one that you mean.")


def _check_numbers(folder: Path, files: list[str]) -> None:
    """Shards without an index say by their names how many there must be."""
    groups: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    for name in files:
        if found := _SHARD.fullmatch(name):
            groups[found["stem"], int(found["total"]), found["suffix"]].add(int(found["number"]))
    for (stem, total, suffix), present in groups.items():
        if lacking := set(range(1, total + 1)) - present:
            names = (f"{stem}-{number:05}-of-{total:05}{suffix}" for number in lacking)
            raise BrokenFile(f"{folder}: shards are missing: {listed(names)}; copy or download the folder again.")


def _nothing(folder: Path, names: list[str]) -> str:
    below = sorted({path.parent.name for suffix in SAFETENSORS + TORCH for path in folder.glob(f"*/*{suffix}")})
    hint = f"; folders below it hold some: {listed(below)}, load one of these" if below else ""
    return f"{folder}: no weights (safetensors or torch files) in this folder, which holds {listed(names) or 'no files'}{hint}."
