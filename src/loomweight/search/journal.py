"""The diary of a study: one JSON object a line, appended and synced before anything else happens.

Why not one of Optuna's own storages: Optuna keeps the state of CMA-ES as a pickle inside its storage and unpickles it on the
next trial, so opening somebody's study file would run whatever code it holds. A list of what was asked and told is enough:
the samplers are deterministic, so the state is found again by going through the list (study.py). A kill in the middle of a
line costs that line alone.
"""

import json
import os
from collections.abc import Iterator
from io import BufferedRandom
from pathlib import Path
from typing import Any

from ..errors import BrokenFile, OutputError

Entry = dict[str, Any]


class Journal:
    """Appends entries to a file that one process holds at a time.

    Raises:
        OutputError: the file cannot be opened, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BufferedRandom = path.open("r+b") if path.exists() else path.open("x+b")
        except OSError as error:
            raise OutputError(f"the study cannot be kept in {path}: {error.strerror or error}.") from error
        self._hold()

    def entries(self) -> Iterator[Entry]:
        """All whole lines; a line that was cut short by a kill is removed from the file.

        Raises:
            BrokenFile: a line is not a JSON object; the message names it.
        """
        self._file.seek(0)
        good = 0
        for number, line in enumerate(self._file.read().splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break
            good += len(line)
            yield self._parsed(line, number)
        self._file.truncate(good)
        self._file.seek(good)

    def add(self, entry: Entry) -> None:
        """Append one entry and wait until the disk has it."""
        self._file.write(json.dumps(entry, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _parsed(self, line: bytes, number: int) -> Entry:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            raise BrokenFile(f"{self.path}, line {number}: this is not an entry of a study; restore the file, or begin a new study elsewhere.")
        return entry

    def _hold(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: two processes on one study are not noticed there
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise OutputError(f"another process works on the study in {self.path}; wait for it, or use another file.") from error
