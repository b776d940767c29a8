"""The command `loomweight` in a process of its own, with a pause after every segment, so that a test can stop it anywhere."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TypeVar

from loomweight.cli import main
from loomweight.weights import journal

from ..weights.sets_to_write import small_grid

T = TypeVar("T")
#: where this file is, there are no pauses any more
HURRY = Path("hurry")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["loomweight.cli.merge", "pytest", "hypothesis.strategies"])  # what takes long to import


def on_small_grid(command: Callable[[], T]) -> T:
    """Call it where the tiny models have many segments; who goes on with a merge must cut it alike."""
    with small_grid(64, 64, 64):
        return command()


def started(arguments: list[str], errors: Path, pause: float) -> ForkServerProcess:
    """A running `loomweight ARGUMENTS`, in this working folder, that writes its stderr to `errors`."""
    process = _CONTEXT.Process(target=_slowly, args=(arguments, errors, pause))
    process.start()
    return process


def _slowly(arguments: list[str], errors: Path, pause: float) -> None:
    with errors.open("wb") as file:
        os.dup2(file.fileno(), 2)
    mark = journal.Journal.mark

    def marked(self: journal.Journal, number: int, digest: int) -> None:
        mark(self, number, digest)
        if not HURRY.exists():
            time.sleep(pause)

    journal.Journal.mark = marked  # type: ignore[method-assign]
    on_small_grid(lambda: main(arguments))
