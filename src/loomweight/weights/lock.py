"""One process to one output: a lock that the operating system releases when its process ends, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import OutputError
from .place import Place


@contextmanager
def claimed(place: Place) -> Iterator[None]:
    """Make the partial folder and hold its lock; on leaving, the folder goes too, unless a journal in it says what to resume.

    Raises:
        OutputError: another process, or another thread of this one, is writing to the same output.
    """
    made = [parent for parent in place.target.parents if not parent.exists()]
    descriptor = _locked(place)
    try:
        place.recover()
        yield
    finally:
        if not place.journal.exists():
            place.clear()
            (place.partial / "lock").unlink()
            for folder in (place.partial, *made):
                with suppress(OSError):  # not empty: another process has just begun, or a parent holds the output
                    folder.rmdir()
        os.close(descriptor)


def swept(place: Place) -> None:
    """Remove the empty rest of a run that was killed when its output was whole and its lock not yet gone."""
    if place.partial.exists():
        with claimed(place):
            pass


def _locked(place: Place) -> int:
    path = place.partial / "lock"
    while True:
        place.partial.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the process before us has just removed the folder
            continue
        try:
            _take(descriptor, place)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:  # or the file: a lock on it would hold nobody off
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _take(descriptor: int, place: Place) -> None:
    import fcntl  # not on Windows, where loomweight can read but not write

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{place.target} is being written by another process; wait for it, or choose another path.") from None
