"""A progress bar over bytes, where a person is watching."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..weights.write import Progress


@contextmanager
def bar(words: str, show: bool = True) -> Iterator[Progress]:
    """A callback for (bytes done, bytes in all) that draws a bar on stderr; nothing where stderr is no terminal."""
    if not (show and sys.stderr.isatty()):
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(words)
        yield lambda done, total: drawn.update(task, completed=done, total=total)
