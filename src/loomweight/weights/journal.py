"""What of an unfinished output is done: one line a segment, appended after the segment's bytes were written.

The first line is the key of the plan: what is written from what. A line is a claim, not a proof: before it is trusted, the
bytes on the disk are digested again, so a torn line or pages that a crash lost cost a recomputation and nothing else.
"""

import os
import threading
from pathlib import Path

from ..errors import OutputError


class Journal:
    """The open journal of one running save; `claims` holds what an earlier run says it has written."""

    def __init__(self, path: Path, key: str, claims: dict[int, int]) -> None:
        self.path = path
        self.claims = claims
        self.begun = bool(claims)
        self._lock = threading.Lock()
        self._open = True
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        if not os.fstat(self._descriptor).st_size:
            self._start(key)

    def mark(self, number: int, digest: int) -> None:
        """Say that this segment lies on the disk, with the digest of its bytes."""
        self._append(f"{number} {digest:016x}")
        self.begun = True

    def close(self) -> None:
        """Leave the journal where it is: the output can be resumed."""
        with self._lock:
            self._open = False
            os.close(self._descriptor)

    def drop(self) -> None:
        """Remove it: nothing of this output is worth keeping, or all of it is in place."""
        self.path.unlink(missing_ok=True)

    def _start(self, key: str) -> None:
        try:
            self._append(key)
        except OSError:  # no room for one line: nothing is begun
            self.drop()
            self.close()
            raise

    def _append(self, words: str) -> None:
        with self._lock:
            if self._open:  # a thread that outlives its save must not write into what has this descriptor next
                os.write(self._descriptor, f"{words}\n".encode())


def claims(path: Path, key: str) -> dict[int, int]:
    """What the journal at `path` says is done, as segment number -> digest; empty where there is no journal.

    Raises:
        OutputError: it is the journal of another plan.
    """
    if not path.exists():
        return {}
    text = path.read_text(errors="replace")
    if "\n" not in text:  # the key itself is torn: nothing was done
        return {}
    first, *lines = text.splitlines()
    if first != key:
        raise OutputError(
            f"{path.parent} holds an unfinished output of another plan (other inputs, rule, dtype, shard size or metadata), "
            "so it cannot be resumed; delete that folder, or run without resume to start over."
        )
    return dict(claim for line in lines if (claim := _claim(line)))


def _claim(line: str) -> tuple[int, int] | None:
    try:
        number, digest = line.split()
        return int(number), int(digest, 16)
    except ValueError:  # a line that a crash tore
        return None
