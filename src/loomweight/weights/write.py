"""Writing: the one loop of the program. Lay out, lock, pour blocks into their places on a few threads, sync, rename.

What a tensor's bytes are depends on its blocks alone, which are always cut on the same grid: never on threads, shards, the
order of names, or on how often the run was interrupted.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..engines import current
from ..errors import BadParameter, LoomweightError, OutputError, unknown
from .algebra import cast_to
from .digest import START, chained
from .disk import early_write_back, read_at, reserved, sync, synced, telling, write_at
from .journal import Journal, claims
from .layout import CODES, Layout, bytes_of, lay_out
from .load import Source, load
from .lock import claimed
from .place import Place
from .reading import Reading
from .segments import SEGMENT, Segment, cut, ordered
from .spec import BLOCK, CODED, cast
from .weights import Weights

Progress = Callable[[int, int], None]
_NAME = "model.safetensors"


@dataclass(frozen=True)
class Output:
    """Where weights go, and what goes with them.

    Args:
        path: one file where it ends in `.safetensors`, else a folder that holds `model.safetensors`, or shards with an index
            in the manner of Hugging Face. Parents are made.
        shard_size: most bytes of tensors in one file of a folder: "5GB", "500MiB", a number, or None for no limit.
        metadata: strings for the headers of the weight files.
        files: other files of the folder (`config.json`, `1_Pooling/config.json`, ...), name -> content.
        overwrite: replace an output that exists; a folder is replaced as a whole, with all that is in it.

    >>> Output("out", files={"config.json": b"{}"}).shard_size
    '5GB'
    """

    path: str | Path
    shard_size: str | int | None = "5GB"
    metadata: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    overwrite: bool = False


def save(
    weights: Source,
    path: str | Path,
    *,
    shard_size: str | int | None = "5GB",
    dtype: torch.dtype | str | None = None,
    metadata: Mapping[str, str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write weights as safetensors: streamed, sharded, whole or not at all.

    The short form of `write`, which has the details and also takes side files and a callback for progress.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save({"w": torch.tensor([1.0, 2.0])}, f"{folder}/out", dtype="bfloat16")
    ...     sorted(file.name for file in path.iterdir())
    ['model.safetensors']
    """
    return write(weights, Output(path, shard_size, metadata or {}, overwrite=overwrite), dtype=dtype, resume=resume)


def write(
    weights: Source,
    output: Output,
    *,
    dtype: torch.dtype | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write weights to an output: streamed, on the threads of the current engine, whole or not at all.

    Everything is written into the hidden folder `.NAME.partial` beside the output and renamed when it is complete and synced,
    so the output appears whole or not at all, and an old one is gone only when the new one is there. Killed, interrupted
    (KeyboardInterrupt) or out of disk, the partial stays, and `resume=True` goes on from it: what it holds is verified by
    digest, and only what is missing or damaged is computed again. On errors of the data (overflow, NaN where the rule refuses
    it, a broken input) the partial is removed. Without `resume` the partial of a dead process is replaced.
    State dicts, modules and functions have no identity beyond their process, so sets made of them are resumed within it only.

    Tied tensors are written once and named in the header. A folder that is empty counts as no output.

    Args:
        weights: `Weights`, or anything that `load` takes: a state dict, a module, a path.
        output: where to, and what goes with it.
        dtype: rounds the floating tensors to it, once; integers stay as they are. By default each keeps its own.
        resume: go on from what an interrupted run of the same plan has left; without such a rest, start.
        progress: called in this thread with (bytes done, bytes in all).

    Returns:
        The path of the output.

    Raises:
        OutputError: the output exists, lies in an input or around one, is being written by another process, cannot be written
            there or does not fit the disk; or the rest that is to be resumed is of another plan.
        BadParameter: a size, a dtype, metadata or a name of a side file that cannot be.
        Overflow: a finite value does not fit the dtype.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = Output(f"{folder}/out", shard_size=8, files={"config.json": b"{}"})
    ...     path = write({"a": torch.ones(2), "b": torch.ones(2)}, out)
    ...     sorted(file.name for file in path.iterdir())
    ['config.json', 'model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'model.safetensors.index.json']
    """
    weights = load(weights)
    weights = weights if dtype is None else cast_to(weights, floating_dtype(dtype))
    place = Place.at(output.path)
    layout, beside = laid_out(weights, output, place)
    with ExitStack() as held:
        with telling(place.target):
            place.check(weights.sources, output.overwrite)
            held.enter_context(claimed(place))
            place.check((), output.overwrite)
            journal = held.enter_context(closing(_begin(place, _key(weights, layout), resume, layout.nbytes + sum(map(len, beside.values())))))
        _complete(_Pour(weights, layout, place, journal), beside, output.overwrite, progress)
    return Path(output.path)


def laid_out(weights: Weights, output: Output, place: Place) -> tuple[Layout, dict[str, bytes]]:
    """Where every byte of an output goes: the weight files, and the other files with their content."""
    name, limit = (place.target.name, None) if place.single else (_NAME, bytes_of(output.shard_size))
    layout = lay_out(weights, name, limit, output.metadata)
    return layout, _beside(output, layout, place)


def _begin(place: Place, key: str, resume: bool, needed: int) -> Journal:
    found = claims(place.journal, key) if resume else {}
    place.room(needed)
    if not found:
        place.clear()
    return Journal(place.journal, key, found)


class _Pour:
    """Fills the files of one layout; a call does one segment and may run on any thread."""

    def __init__(self, weights: Weights, layout: Layout, place: Place, journal: Journal) -> None:
        self.layout = layout
        self.place = place
        self.journal = journal
        self.segments = cut(layout)
        self._reading = Reading(weights, self.segments)

    def __call__(self, segment: Segment) -> int:
        """Make sure that this segment lies on the disk; its bytes."""
        with telling(self.place.target):
            descriptor = os.open(self.place.folder / segment.file, os.O_RDWR)
        try:
            claim = self.journal.claims.get(segment.number)
            if claim is None or claim != _found(descriptor, segment):
                digest = self._written(descriptor, segment)
                with telling(self.place.target):
                    self.journal.mark(segment.number, digest)
        finally:
            os.close(descriptor)
        self._reading.release(segment)
        return segment.nbytes

    def _written(self, descriptor: int, segment: Segment) -> int:
        digest = START
        for piece in segment.pieces:
            read, slot = self._reading.block(piece.slot.name), piece.slot
            for lo, hi, offset in piece.blocks():
                data = _stored(read(lo, hi), slot.spec.dtype, slot.name)
                if len(data) != (hi - lo) * slot.spec.dtype.itemsize:
                    raise AssertionError(f"tensor {slot.name!r}: entries {lo} to {hi} came as {len(data)} bytes")
                digest = chained(digest, data)
                with telling(self.place.target):
                    write_at(descriptor, data, offset)
        return digest


def _complete(pour: _Pour, beside: Mapping[str, bytes], overwrite: bool, progress: Progress | None) -> None:
    """Fill, sync, rename; on failure, decide whether what is done is worth keeping."""
    journal, place = pour.journal, pour.place
    try:
        _prepare(pour, beside)
        _fill(pour, progress or (lambda done, total: None))
        with telling(place.target):
            synced(place.folder)
            place.publish(overwrite)
        journal.drop()
    except OutputError as error:
        if not journal.begun:
            journal.drop()
            raise
        raise OutputError(f"{error} {_kept(place)}") from error
    except LoomweightError:  # of the data: what mends it makes another plan
        journal.drop()
        raise
    except BaseException as error:
        if not journal.begun:
            journal.drop()
        else:
            error.add_note(_kept(place))
        raise
    with telling(place.target):
        sync(place.target.parent)


def _kept(place: Place) -> str:
    return f"What is done is kept in {place.partial}: go on with resume=True (--resume on the command line), or delete it."


def _prepare(pour: _Pour, beside: Mapping[str, bytes]) -> None:
    """Headers, files of full length, side files; nothing else is left in the folder."""
    folder = pour.place.folder
    planned = {shard.file: (shard.nbytes, shard.header) for shard in pour.layout.shards}
    planned |= {name: (len(content), content) for name, content in beside.items()}
    with telling(pour.place.target):
        stale = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).as_posix() not in planned]
        for path in stale:
            path.unlink()
        for name, (size, head) in planned.items():
            reserved(folder / name, size, head)


def _fill(pour: _Pour, progress: Progress) -> None:
    engine = current()
    total = sum(segment.nbytes for segment in pour.segments)
    done = 0
    progress(done, total)
    files = [pour.place.folder / shard.file for shard in pour.layout.shards]
    results = engine.map(pour, ordered(pour.segments, ahead=getattr(engine, "count", 1) - 1))
    try:
        with early_write_back(pour.place.target, files):
            for nbytes in results:
                done += nbytes
                progress(done, total)
    finally:
        getattr(results, "close", lambda: None)()  # no thread writes on when this has failed


def _stored(entries: Tensor, dtype: torch.dtype, name: str) -> NDArray[np.uint8]:
    """The bytes of these entries as they are stored, without a copy where none is needed."""
    out = cast(entries, dtype, name).detach().cpu().contiguous()
    return out.as_strided(out.shape, (1,)).view(torch.uint8).numpy()  # a single entry may keep any stride


def _found(descriptor: int, segment: Segment) -> int:
    """The digest of what lies on the disk where this segment belongs."""
    digest = START
    for piece in segment.pieces:
        for lo, hi, offset in piece.blocks():
            digest = chained(digest, read_at(descriptor, (hi - lo) * piece.slot.spec.dtype.itemsize, offset))
    return digest


def floating_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """The dtype of that name, with or without `torch.` before it.

    Raises:
        UnknownName: no floating dtype that can be stored is called so.

    >>> floating_dtype("bfloat16")
    torch.bfloat16
    """
    known = {str(each).removeprefix("torch."): each for each in CODES if each.is_floating_point and each not in CODED}
    name = str(dtype).removeprefix("torch.")
    if name not in known:
        raise unknown("floating dtype", name, known)
    return known[name]


def _beside(output: Output, layout: Layout, place: Place) -> dict[str, bytes]:
    """Side files and the index, their names checked."""
    index = {f"{_NAME}.index.json": layout.index} if len(layout.shards) > 1 else {}
    taken = {name.lower() for name in (_NAME, f"{_NAME}.index.json", *(shard.file for shard in layout.shards))}
    if output.files and place.single:
        raise BadParameter(f"{place.target.name} is one file, which cannot hold {next(iter(output.files))!r} too; name a folder.")
    for name in output.files:
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise BadParameter(f"a side file must have a name inside the output folder, found {name!r}.")
        if str(path).lower() in taken:
            raise BadParameter(f"the side file {name!r} has the name of a weight file; call it otherwise.")
    return {**{str(PurePosixPath(name)): content for name, content in output.files.items()}, **index}


def _key(weights: Weights, layout: Layout) -> str:
    """What identifies a plan: inputs and operations, every header, and the grid of blocks."""
    parts: Iterable[bytes] = (f"1 {BLOCK} {SEGMENT} {weights.fingerprint}".encode(), *(shard.header for shard in layout.shards))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
