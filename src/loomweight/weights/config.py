"""The model's own `config.json`, handed on as it is: weights are read without it."""

from pathlib import Path
from typing import Any

from .json_file import read_json
from .locate import locate


def config_of(path: str | Path) -> dict[str, Any] | None:
    """The `config.json` of a folder (or beside a file), or None where there is none.

    Raises:
        BrokenFile: it is not JSON, or not an object.
        UnknownName: there is no such path.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "config.json").write_text('{"model_type": "llama"}')
    ...     config_of(folder)
    {'model_type': 'llama'}
    """
    found = locate(str(path))
    config = (found if found.is_dir() else found.parent) / "config.json"
    return read_json(config) if config.exists() else None
