"""How fast is exact selection? Edits of one large tensor on one thread, against `topk`, `kthvalue` and plain passes over it.

    python bench/trim.py [--millions 64] [--rounds 5]

A pass is `x.abs() > t` over the tensor by blocks, as torch does it and as numpy does it (its comparisons are several times
faster). All take turns in one run; the times are medians, and ratios are to torch's pass. `difference` is that of two bfloat16
tensors, whose magnitudes take few values: many ties. Memory is RssAnon over that before the call.
"""

import argparse
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from loomweight.edits import Drop, DropBothEnds, Edit, KeepNorm, MagnitudeDrop, Quantise, Sign, Trim, largest
from loomweight.weights import Block, Spec
from loomweight.weights.spec import spans

COLUMNS = 1024


def private() -> int:
    """RssAnon of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def peak(body: Callable[[], object]) -> int:
    """The most private memory while it runs, over that before, looked at every 2 ms."""
    before, seen, stop = private(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            seen.append(private() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    body()
    stop.set()
    thread.join()
    return max(seen)


def drain(blocks: Iterable[torch.Tensor]) -> None:
    """Make every block, keep none."""
    deque(blocks, maxlen=0)


def run(edit: Edit, read: Block, numel: int) -> None:
    """The whole edit, block by block, as the writer asks for it."""
    block = edit.bind("w", Spec((numel // COLUMNS, COLUMNS), torch.float32), read)
    drain(block(lo, hi) for lo, hi in spans(numel))


def subjects(x: torch.Tensor, difference: Block) -> dict[str, Callable[[], object]]:
    """What is timed. `difference` reads two bfloat16 tensors and subtracts."""
    n, k = len(x), len(x) // 5
    read: Block = lambda lo, hi: x[lo:hi]  # noqa: E731
    return {
        "pass, torch": lambda: drain(x[lo:hi].abs() > 1.28 for lo, hi in spans(n)),
        "pass, numpy": lambda: drain(x[lo:hi].abs().numpy() > 1.28 for lo, hi in spans(n)),
        "copy": lambda: drain(x[lo:hi].clone() for lo, hi in spans(n)),
        "largest, k = n / 100": lambda: largest(lambda lo, hi: x[lo:hi].abs(), n, n // 100),
        "largest, k = n / 5": lambda: largest(lambda lo, hi: x[lo:hi].abs(), n, k),
        "largest, k = n / 2": lambda: largest(lambda lo, hi: x[lo:hi].abs(), n, n // 2),
        "difference, read": lambda: drain(difference(lo, hi) for lo, hi in spans(n)),
        "difference, largest": lambda: largest(lambda lo, hi: difference(lo, hi).abs(), n, k),
        "Trim(0.2)": lambda: run(Trim(0.2), read, n),
        "Trim(0.2) of difference": lambda: run(Trim(0.2), difference, n),
        "DropBothEnds(0.9, 0.01)": lambda: run(DropBothEnds(0.9, 0.01), read, n),
        "Drop(0.9)": lambda: run(Drop(0.9), read, n),
        "KeepNorm(Drop(0.9))": lambda: run(KeepNorm(Drop(0.9, rescale=False)), read, n),
        "MagnitudeDrop(0.5)": lambda: run(MagnitudeDrop(0.5), read, n),
        "MagnitudeDrop, no rescaling": lambda: run(MagnitudeDrop(0.5, 0.15, rescale=False), read, n),
        "Quantise(8)": lambda: run(Quantise(8), read, n),
        "Sign()": lambda: run(Sign(), read, n),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    numel = options.millions << 20
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(numel, generator=generator)
    base = (0.02 * torch.randn(numel, generator=generator)).bfloat16()
    tuned = (base.float() + 0.001 * x).bfloat16()
    timed = subjects(x, lambda lo, hi: tuned[lo:hi].float() - base[lo:hi].float())
    slow = {
        "topk, k = n / 5": lambda: torch.topk(x.abs(), numel // 5, sorted=False),
        "kthvalue, k = n / 5": lambda: x.abs().kthvalue(numel - numel // 5),
    }
    private_bytes = peak(timed["largest, k = n / 5"])  # first, before anything has made the heap grow
    times: dict[str, list[float]] = {name: [] for name in (*timed, *slow)}
    for turn in range(options.rounds):
        for name, body in (timed if turn else timed | slow).items():
            start = time.perf_counter()
            body()
            times[name].append(time.perf_counter() - start)
    unit = statistics.median(times["pass, torch"])
    print(f"{numel} entries, one thread, torch {torch.__version__}, medians of {options.rounds} rounds (topk, kthvalue: one)")
    for name, each in times.items():
        taken = statistics.median(each)
        print(f"{name:32s} {1e9 * taken / numel:7.2f} ns/entry  {taken / unit:6.2f} x")
    print(f"{'memory of largest':32s} {private_bytes >> 20:7d} MiB; the tensor has {numel >> 18}")


if __name__ == "__main__":
    main()
