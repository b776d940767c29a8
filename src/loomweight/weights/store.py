"""One file of weights, known by its header: the thing that every format is turned into."""

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import BrokenFile
from .spec import BLOCK, Block, Spec

_PART = 4 * BLOCK  # entries of a tensor for which its file is looked at once: every look takes some microseconds


@dataclass(frozen=True)
class Stamp:
    """A file as it was when its header was read."""

    path: Path
    size: int
    mtime_ns: int

    @staticmethod
    def of(path: Path) -> "Stamp":
        """Look at a file, links followed.

        Raises:
            BrokenFile: it is not there, or is no regular file (a pipe would be waited on for ever).
        """
        try:
            found = path.stat()
        except OSError as error:
            raise BrokenFile(f"{path}: cannot be read: {error.strerror}.") from error
        if not stat.S_ISREG(found.st_mode):
            raise BrokenFile(f"{path}: not a regular file.")
        return Stamp(path, found.st_size, found.st_mtime_ns)

    def check(self) -> None:
        """Raise where the file is no longer the one whose header was read: its data may be another model's, or gone."""
        try:
            found = self.path.stat()
        except OSError:
            found = None
        if found is None or (found.st_size, found.st_mtime_ns) != (self.size, self.mtime_ns):
            Stamp.of(self.path)
            raise BrokenFile(f"{self.path}: the file has changed since it was loaded; load it again.")

    @property
    def word(self) -> tuple[str, int, int]:
        """What tells this file's content from another's, for `Weights.fingerprint`."""
        return str(self.path.resolve()), self.size, self.mtime_ns


@dataclass(frozen=True)
class Store:
    """The tensors of one file.

    Args:
        stamp: the file.
        spec: name -> shape and dtype, aliases too.
        ties: alias -> owner, within the file.
        read: opens a tensor that owns its bytes.
        inside: the place of the tensors within the file, in brackets, where they are not all of it.
    """

    stamp: Stamp
    spec: Mapping[str, Spec]
    ties: Mapping[str, str]
    read: Callable[[str], Block]
    inside: str = ""

    def open(self, name: str) -> Block:
        """Open a tensor (or the owner of an alias), provided that the file is unchanged; every few blocks that is asked again.

        A mapped file that another process has shortened has no pages any more where data was, and touching them ends the process
        (SIGBUS). So it is looked at before a block of another part of the tensor is handed out. Shortened while the blocks of one
        part are worked on, it still ends the process.
        """
        self.stamp.check()
        read, part = self.read(self.ties.get(name, name)), 0

        def block(lo: int, hi: int) -> Tensor:
            nonlocal part
            if lo // _PART != part:
                self.stamp.check()
                part = lo // _PART
            return read(lo, hi)

        return block
