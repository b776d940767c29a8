"""A search that goes on in its folder goes on with the weights and the data that it began with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import BadParameter, BrokenFile, OutputError


def same_scores(folder: str | Path, told: Mapping[str, Any]) -> None:
    """Note what the scores of a folder's search depend on, or check that it is what an earlier call noted.

    Args:
        folder: of the run; the search's diary is `search.jsonl` in it.
        told: name -> text or number, `{"weights": digest, "data": "nets:held_out"}`.

    Raises:
        BadParameter: the diary holds scores that depend on something else.
        BrokenFile, OutputError: the note cannot be understood, or not written.
    """
    note, diary = Path(folder) / "search.json", Path(folder) / "search.jsonl"
    try:
        before = json.loads(note.read_text("utf-8")) if note.exists() and diary.exists() else dict(told)
        changed = [name for name, value in told.items() if before.get(name) != value]
    except (ValueError, AttributeError) as error:
        raise BrokenFile(f"{note} is damaged: {error}; remove it and {diary.name} to search anew.") from error
    if changed:
        raise BadParameter(f"{diary} holds scores with other {' and '.join(changed)}, which do not compare with new ones; remove it to search anew.")
    try:
        note.write_text(json.dumps(dict(told), indent=2) + "\n", "utf-8")
    except OSError as error:
        raise OutputError(f"{note} cannot be written: {error.strerror or error}.") from error
