"""A save that takes its time, run in a process of its own so that it can be killed.

    python -m tests.weights.slow_save OUT LOG SECONDS_A_BLOCK [resume]

Every tensor opened and every block read is a line of LOG.
"""

import sys
import time
from pathlib import Path

import torch

from loomweight import Spec
from loomweight.engines import Threads
from loomweight.weights import BLOCK, Block, Output, Weights, write

from .sets_to_write import small_grid

SHAPES = {"embed": (10 * BLOCK,), "head": (3 * BLOCK + 1,)} | {f"layers.{i}.weight": (i + 1, BLOCK) for i in range(4)} | {"bias": (7,), "scale": ()}


def numbers(log: Path, pause: float) -> Weights:
    """Entry i of a tensor is i modulo 251, plus the length of the name."""

    def open_(name: str) -> Block:
        _say(log, f"open {name}")

        def read(lo: int, hi: int) -> torch.Tensor:
            time.sleep(pause)
            _say(log, f"read {name} {lo}")
            return (torch.arange(lo, hi) % 251 + len(name)).float()

        return read

    spec = {name: Spec(shape, torch.bfloat16) for name, shape in SHAPES.items()}
    return Weights(spec, open_, origin=("numbers", 251))


def _say(log: Path, words: str) -> None:
    with log.open("a") as file:
        file.write(f"{words}\n")


def main(out: str, log: str, pause: str, mode: str = "") -> None:
    with small_grid(BLOCK, 2 * BLOCK, 1 << 20), Threads(2):
        write(numbers(Path(log), float(pause)), Output(out, shard_size="3MiB"), resume=mode == "resume")


if __name__ == "__main__":
    main(*sys.argv[1:])
