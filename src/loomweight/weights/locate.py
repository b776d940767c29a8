"""From what a user typed to a path on this machine: a path, or a repository that the Hugging Face cache already holds."""

import difflib
import os
import re
from pathlib import Path

from ..errors import UnknownName

_REPOSITORY = re.compile(r"(?P<id>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?")


def locate(text: str) -> Path:
    """The existing path, or the cached snapshot of the repository `owner/name[@revision]`; nothing is downloaded.

    Raises:
        UnknownName: neither; the message has the nearest names in the parent folder.
    """
    path = Path(os.path.expanduser(text))  # noqa: PTH111  # leaves the home of nobody as it is
    if _exists(path):
        return path
    if snapshot := _cached(text):
        return snapshot
    raise UnknownName(f"no such file or folder: {text!r}{_near(path)}{_hub(text)}.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system
        return False


def _near(path: Path) -> str:
    if not _exists(path.parent) or not path.parent.is_dir():
        return f"; {str(path.parent)!r} is no folder either"
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=3)
    return f"; near it: {', '.join(map(repr, near))}" if near else ""


def _hub(text: str) -> str:
    found = _REPOSITORY.fullmatch(text)
    if not found:
        return ""
    revision = f" --revision {found['revision']}" if found["revision"] else ""
    return f"; if it is a Hugging Face repository, download it first: hf download {found['id']}{revision}"


def _cached(text: str) -> Path | None:
    found = _REPOSITORY.fullmatch(text)
    if not found:
        return None
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        return Path(snapshot_download(found["id"], revision=found["revision"], local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        return None
