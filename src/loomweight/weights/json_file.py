"""JSON beside the weights: a header, an index, a config. Damage is reported with the file's name."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import BrokenFile


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; a key that stands twice is an error.

    Raises:
        BrokenFile: the file cannot be read, is not JSON, or is not an object.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BrokenFile(f"{path}: cannot be read: {error.strerror}.") from error
    return parse_json(raw, str(path))


def parse_json(raw: bytes, where: str) -> dict[str, Any]:
    """The JSON object in these bytes; `where` begins the message of every error.

    >>> parse_json(b'{"a": 1}', "here")
    {'a': 1}
    """
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_once)
    except RecursionError as error:
        raise BrokenFile(f"{where}: the JSON is nested too deeply.") from error
    except ValueError as error:
        raise BrokenFile(f"{where}: not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise BrokenFile(f"{where}: expected a JSON object, found a {type(value).__name__}.")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {twice[:80]!r} stands twice in one object")
    return found
