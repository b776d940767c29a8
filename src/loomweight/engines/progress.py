"""A bar for work that takes long: shown only where a person is watching."""

import sys
from collections.abc import Iterable, Iterator

from .engine import T


def track(items: Iterable[T], words: str, total: int | None = None, *, show: bool = True) -> Iterator[T]:
    """Yield the items; while they are worked on, a bar on stderr says how far it got, if stderr is a terminal.

    >>> list(track([1, 2], "counting"))
    [1, 2]
    """
    if not (show and sys.stderr.isatty()):
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total if total is not None else _length(items), description=words)


def _length(items: Iterable[object]) -> float | None:
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None
