"""How fast and how lean is `save`? A copy of a bfloat16 set against plain reads, plain writes and fsync of the same bytes.

    python bench/write.py [--gb 1] [--rounds 5]

Floor and copies take turns in one run; ratios are of medians. Memory is RssAnon (private, not mapped files) over that of the
process after `import torch`. Files lie in a temporary folder (TMPDIR) and are deleted.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch


def private() -> int:
    """RssAnon of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


BARE = private()

import loomweight as lw  # noqa: E402
from loomweight.engines import Threads  # noqa: E402


class Peak:
    """The largest RssAnon over the bare process while the body runs, looked at every 2 ms."""

    def __enter__(self) -> "Peak":
        self.bytes, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.bytes = max(self.bytes, private() - BARE)


def make(path: Path, nbytes: int) -> None:
    """A Llama-like set: one embedding of a fifth of the bytes, layers of large matrices and small norms; noise, bfloat16."""
    layers, width = 24, 1024
    rows = nbytes // 5 // (2 * width)
    each = (nbytes - rows * 2 * width) // layers // (2 * width) // 4
    shapes = {"model.embed_tokens.weight": (rows, width)}
    for i in range(layers):
        shapes |= {f"model.layers.{i}.{part}.weight": (each, width) for part in ("q", "o", "up", "down")}
        shapes |= {f"model.layers.{i}.norm.weight": (width,)}

    def open_(name: str) -> Callable[[int, int], torch.Tensor]:
        generator = torch.Generator().manual_seed(len(name))
        noise = torch.randn(1 << 20, generator=generator).bfloat16()
        return lambda lo, hi: noise.roll(lo % 1009)[: hi - lo]

    spec = {name: lw.Spec(shape, torch.bfloat16) for name, shape in shapes.items()}
    lw.save(lw.Weights(spec, open_), path)


def floor(source: Path, target: Path) -> str:
    """Read, write, fsync, with one buffer."""
    buffer = bytearray(1 << 20)
    started = time.perf_counter()
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as write:
        while count := read.readinto(buffer):
            write.write(memoryview(buffer)[:count])
        os.fsync(write.fileno())
    return f"{time.perf_counter() - started:.2f}"


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def copy(source: Path, target: Path, threads: int) -> None:
    with Threads(threads):
        lw.save(lw.load(source), target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loomweight-bench-") as folder:
        source, target = Path(folder, "in.safetensors"), Path(folder, "out.safetensors")
        make(source, int(options.gb * 1e9))
        cases = {"floor": lambda: floor(source, target)} | {f"{n} thread(s)": (lambda n=n: copy(source, target, n)) for n in (1, 2)}
        times: dict[str, list[float]] = {name: [] for name in cases}
        peaks = dict.fromkeys(cases, 0)
        for _ in range(options.rounds):
            for name, case in cases.items():
                with Peak() as peak:
                    times[name].append(timed(case))
                peaks[name] = max(peaks[name], peak.bytes)
                target.unlink()
        print(f"{source.stat().st_size / 1e9:.2f} GB, {options.rounds} rounds; median seconds, ratio to the floor, peak private MiB over import torch")
        for name, found in times.items():
            middle = statistics.median(found)
            ratio = middle / statistics.median(times["floor"])
            print(f"{name:12} {middle:6.2f}  {ratio:5.2f}x  {peaks[name] / 2**20:6.0f}   all: {', '.join(f'{t:.2f}' for t in found)}")


if __name__ == "__main__":
    main()
