"""Let a few milliseconds of work end before Ctrl-C is heard: half a step of an average would be no average."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def undisturbed() -> Iterator[None]:
    """An interrupt that comes inside is raised at the end. In threads, which are never interrupted, it does nothing.

    >>> with undisturbed():
    ...     step = "whole"
    """
    before = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if not callable(before):
        yield
        return
    heard: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        for number, frame in heard[:1]:
            before(number, frame)
