"""The place of an output: what may stand there, the hidden folder beside it that is filled first, and the rename at the end.

An output `out` is written as `.out.partial/output` on the same file system and renamed when it is whole, so that `out` never
holds half of anything. Beside it in `.out.partial` lie the lock of the running process and the journal for a resume.
"""

import ctypes
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError

_SUFFIX = ".safetensors"
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@dataclass(frozen=True)
class Place:
    """Where an output goes; a name that ends in `.safetensors` is one file, any other a folder."""

    target: Path

    @staticmethod
    def at(path: "str | Path") -> "Place":
        """The place that a path names, links followed."""
        target = Path(os.path.realpath(path))
        if not target.name:
            raise OutputError(f"cannot write to {str(path)!r}: name a folder in it.")
        return Place(target)

    @property
    def single(self) -> bool:
        """Whether it is one file."""
        return self.target.suffix == _SUFFIX

    @property
    def partial(self) -> Path:
        """The hidden folder in which everything unfinished lies."""
        return self.target.with_name(f".{self.target.name}.partial")

    @property
    def folder(self) -> Path:
        """The folder in which files are written."""
        return self.partial / "output"

    @property
    def whole(self) -> Path:
        """What is renamed to the target when it is complete."""
        return self.folder / self.target.name if self.single else self.folder

    @property
    def journal(self) -> Path:
        """The record of what is done."""
        return self.partial / "journal"

    @property
    def _aside(self) -> Path:
        return self.partial / "aside"

    def check(self, sources: Iterable[Path], overwrite: bool) -> None:
        """Raise `OutputError` unless an output may be put here."""
        for source in sources:
            self._apart(Path(os.path.realpath(source)))
        kind = "file" if self.single else "folder"
        if self.target.exists() and self.target.is_dir() == self.single:
            raise OutputError(f"{self.target} is a {'folder' if self.single else 'file'}, and the output is a {kind}; choose another path.")
        if os.path.ismount(self.target):
            raise OutputError(f"{self.target} is a mount point, which cannot be replaced by a finished folder; name a folder inside it.")
        if not self._occupied():
            return
        if not overwrite:
            raise OutputError(f"{self.target} exists already; choose another path, or overwrite it with overwrite=True (--overwrite).")
        if not self.single:
            self._replaceable()

    def _apart(self, source: Path) -> None:
        if source == self.target:
            raise OutputError(f"{self.target} is an input; write the output elsewhere.")
        if self.target in source.parents:
            raise OutputError(f"the input {source} lies inside the output {self.target}; write the output elsewhere.")
        if source in self.target.parents:
            raise OutputError(f"the output {self.target} lies inside the input {source}; write it elsewhere.")

    def _occupied(self) -> bool:
        return self.target.exists() and (self.single or any(self.target.iterdir()))

    def _replaceable(self) -> None:
        """A folder is replaced as a whole, so it must be one of weights and nothing more precious."""
        names = {child.name for child in self.target.iterdir()}
        if not any(name.endswith((_SUFFIX, ".bin", ".index.json")) for name in names):
            raise OutputError(f"{self.target} holds no weights, so it is not overwritten; choose another path, or empty it.")
        if ".git" in names or self.target in (cwd := Path.cwd(), *cwd.parents):
            reason = "a git repository" if ".git" in names else "the working folder, or around it"
            raise OutputError(f"{self.target} is {reason}, so it is not overwritten; choose another path.")

    def room(self, needed: int) -> None:
        """Raise `OutputError` unless the disk can take `needed` bytes; what already lies in the partial counts as free."""
        nearest = next(parent for parent in self.target.parents if parent.exists())
        held = sum(child.stat().st_blocks * 512 for child in self.partial.rglob("*") if child.is_file()) if self.partial.exists() else 0
        free = shutil.disk_usage(nearest).free + held
        if needed > free:
            raise OutputError(
                f"the disk of {nearest} is too full for {self.target}: {_size(needed)} needed, {_size(free)} free; make room or choose another disk."
            )

    def recover(self) -> None:
        """Put an old output back that a crash in the middle of a swap left aside."""
        if self._aside.exists() and not self.target.exists():
            self._aside.rename(self.target)

    def clear(self) -> None:
        """Remove everything unfinished, but for the lock, which the caller holds."""
        for child in self.partial.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            elif child.name != "lock":
                child.unlink()

    def publish(self, overwrite: bool) -> None:
        """Rename the complete output to its name; an old one is gone only when the new one is there."""
        self.check((), overwrite)
        if not self.single and self._occupied():
            self._swap()
        else:
            self.whole.replace(self.target)

    def _swap(self) -> None:
        self.whole.rename(self._aside)  # so that a resume after a crash never takes the old output for its own beginnings
        if _exchanged(self._aside, self.target):
            return
        self._aside.rename(self.whole)
        self.target.rename(self._aside)
        self.whole.rename(self.target)


def _exchanged(one: Path, two: Path) -> bool:
    """Let two folders change names in one step; False where the system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(two), _EXCHANGE) == 0


def _size(count: int) -> str:
    return f"{count:,} bytes" if count < 10**6 else f"{count / 10**9:,.3f} GB"
