"""Plain writes: all bytes or an error that a user understands, and the disk told early what it will have to hold."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_PAUSE = 0.1  # seconds between two rounds of early write-back


@contextmanager
def telling(target: Path) -> Iterator[None]:
    """Turn what the system says about writing into an `OutputError` about `target`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutputError(f"the disk is full: {target} cannot be completed; make room.") from error
        if error.errno == errno.EFBIG:
            raise OutputError(f"a file of {target} grows larger than the file system or a limit allows; choose a smaller shard_size.") from error
        if error.errno in _FORBIDDEN:
            raise OutputError(f"no permission to write {target} ({error.strerror}: {error.filename}); choose another path.") from error
        raise OutputError(f"{target} cannot be written: {error}.") from error


def reserved(path: Path, size: int, head: bytes) -> None:
    """Make a file of `size` bytes that begins with `head`; what else already lies in it stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW) as descriptor:
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, size)
        write_at(descriptor, np.frombuffer(head, np.uint8), 0)


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """A file descriptor, closed at the end."""
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_at(descriptor: int, data: NDArray[np.uint8], offset: int) -> None:
    """Write all of `data` at `offset`, straight from its memory."""
    done = os.pwrite(descriptor, data.data, offset)
    while done < len(data):
        done += os.pwrite(descriptor, data[done:].data, offset + done)


def read_at(descriptor: int, count: int, offset: int) -> NDArray[np.uint8]:
    """Up to `count` bytes from `offset`; fewer where the file ends."""
    data = np.empty(count, np.uint8)
    return data[: os.preadv(descriptor, [data.data], offset)]


def synced(root: Path) -> None:
    """Return when every file below `root`, and every folder's list of names, is on the disk."""
    for path in (*sorted(root.rglob("*"), reverse=True), root):
        sync(path)


def sync(path: Path) -> None:
    """Return when this file, or this folder's list of names, is on the disk."""
    with opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)


@contextmanager
def early_write_back(target: Path, paths: Iterable[Path]) -> Iterator[None]:
    """While the body runs, send what is written to the disk in the background, so that the sync at the end finds little to do."""
    files, stop, failed = list(paths), Event(), list[OSError]()

    def push() -> None:
        try:
            while not stop.wait(_PAUSE):
                for path in files:
                    sync(path)
        except OSError as error:  # a write error is told once, to whoever syncs first
            failed.append(error)

    thread = Thread(target=push, name="loomweight-write-back", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    with telling(target):
        if failed:
            raise failed[0]
