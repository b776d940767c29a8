"""How dear are rules that decide entry by entry? One thread, in passes over all inputs.

    python bench/pointwise.py [--millions 8] [--sets 3,5,8,9,16,32,100,200] [--rounds 5] [--threads 1,2]

A pass is `total.add_(x, alpha=a)` over all inputs by blocks, with one total of a block's size: what a mean costs at least. The
first table has order statistics (float32 and bfloat16; above 32 sets each has a tenth of the entries), the second merges around a
base of three bfloat16 sets, in nanoseconds an entry of the result, the third a streaming mean. Times are CPU seconds of the thread,
the best of the rounds, in which rules and pass take turns: other work on the machine moves them less.

With --threads there is one table instead: wall seconds of the merges around a base of eight tensors on so many threads, which needs
a quiet machine, and how many times as fast each is as on the first number of threads.
"""

import argparse
import time

import torch
from passes import best, merged, one_pass, tensors_of

from loomweight import Weights
from loomweight.edits import Drop, Trim
from loomweight.engines import Inline, Threads
from loomweight.rules import Around, ElectSign, MagMax, MajoritySign, Mean, Median, Rule, RunningMean, TrimmedMean, combine, dare_ties, della
from loomweight.weights.spec import spans


def order_statistics(n: int, entries: int, dtype: torch.dtype, rounds: int) -> str:
    """One line of the first table."""
    tensors = tensors_of(n, entries, dtype)
    sets = [Weights.of({"w": x}) for x in tensors]
    rules = [Median(), TrimmedMean(f=max(1, n // 5)), Median(weights=tuple(float(1 + i % 3) for i in range(n)))]
    floor, *times = best([lambda: one_pass(tensors), *(lambda rule=rule: merged(sets, rule) for rule in rules)], rounds)
    cells = " ".join(f"{t / floor:9.2f}" for t in times)
    return f"{n:4} x {entries / 1e6:5.1f}M {str(dtype)[6:]:9} {floor / entries * 1e9:8.2f} ns {cells}"


def rules_around(base: Weights) -> dict[str, Rule]:
    """The merges of the second table; the last two keep each tensor's sum of magnitudes, as recipes do."""
    return {
        "task arithmetic": Around(base, Mean(normalize=False)),
        "mag max": Around(base, MagMax()),
        "majority sign": Around(base, MajoritySign()),
        "ties": Around(base, ElectSign(), edits=(Trim(0.2),)),
        "dare ties": Around(base, ElectSign(), edits=(Drop(0.9),)),
        "dare ties, norm": dare_ties(base, 0.5, rescale="norm"),
        "della, norm": della(base, 0.5, rescale="norm"),
    }


def near_a_base(entries: int) -> list[torch.Tensor]:
    """Three matrices of 1024 columns, and the one that they were moved from, in bfloat16."""
    start, *moves = tensors_of(4, entries // 1024 * 1024, torch.float32)
    base = start.mul_(0.02)
    return [x.bfloat16().reshape(-1, 1024) for x in (*(base + 1e-3 * move for move in moves), base)]


def around_a_base(entries: int, rounds: int) -> list[str]:
    """The second table."""
    tensors = near_a_base(entries)
    *sets, around = [Weights.of({"w": x}) for x in tensors]
    rules, tensors = rules_around(around), [x.reshape(-1) for x in tensors]
    floor, *times = best([lambda: one_pass(tensors), *(lambda rule=rule: merged(sets, rule) for rule in rules.values())], rounds)
    return [f"{name:16} {t / entries * 1e9:6.2f} ns {t / floor:6.2f} passes" for name, t in zip(rules, times, strict=True)]


def gains(entries: int, counts: list[int], rounds: int) -> list[str]:
    """The table of threads: every tensor is a task, as segments are in a merge."""
    parts = [x.chunk(8) for x in near_a_base(entries)]
    *sets, around = [Weights.of({str(i): part for i, part in enumerate(each)}) for each in parts]
    lines = [f"{'wall seconds':16} " + " ".join(f"{count:4} threads" for count in counts) + "   times as fast"]
    for name, rule in rules_around(around).items():
        seconds = [min(on_threads(sets, rule, count) for _ in range(rounds)) for count in counts]
        lines.append(f"{name:16} " + " ".join(f"{one:12.3f}" for one in seconds) + "   " + " ".join(f"{seconds[0] / one:.2f}" for one in seconds))
    return lines


def on_threads(sets: list[Weights], rule: Rule, count: int) -> float:
    """Wall seconds of a merge on so many threads."""
    start = time.perf_counter()
    with Threads(count) as engine:
        out = combine(sets, rule)

        def made(name: str) -> None:
            block = out.open(name)
            for lo, hi in spans(out.spec[name].numel):
                block(lo, hi)

        list(engine.map(made, out.names))
    return time.perf_counter() - start


def streaming_mean(entries: int, dtype: torch.dtype, rounds: int) -> str:
    """One line of the third table: three sets pushed one after the other, against a pass that adds them up and against the batch rule."""
    tensors = tensors_of(3, entries, dtype)
    total, sets = torch.zeros(entries), [Weights.of({"w": x}) for x in tensors]
    running = RunningMean()
    state = running.start(sets[0])

    def added() -> None:
        for x in tensors:
            for lo, hi in spans(entries):
                total[lo:hi].add_(x[lo:hi].float(), alpha=0.5)

    def pushed() -> None:
        for x in sets:
            running.add(state, x)

    floor, batch, fold = best([added, lambda: merged(sets, Mean()), pushed], rounds)
    return f"{str(dtype)[6:]:9} {floor / entries / 3 * 1e9:6.2f} ns a set {fold / floor:6.2f} passes {fold / batch:6.2f} x the batch rule"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=8)
    parser.add_argument("--sets", default="3,5,8,9,16,32,100,200")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", help="numbers of threads, such as 1,2")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.threads:
        print(*gains(int(given.millions * 4e6), [int(count) for count in given.threads.split(",")], given.rounds), sep="\n")
        return
    with Inline():
        print(f"{'sets':24} {'pass':>11} {'median':>9} {'trimmed':>9} {'weighted':>9}   x pass")
        for n in map(int, given.sets.split(",")):
            entries = int(given.millions * 1e6) // (10 if n > 32 else 1)
            for dtype in (torch.float32, torch.bfloat16):
                print(order_statistics(n, entries, dtype, given.rounds if n <= 32 else 1), flush=True)
        print("\nthree bfloat16 sets around a base")
        print(*around_a_base(int(given.millions * 4e6), given.rounds), sep="\n")
        print("\nstreaming mean")
        print(*(streaming_mean(int(given.millions * 1e6), dtype, given.rounds) for dtype in (torch.float32, torch.bfloat16)), sep="\n")


if __name__ == "__main__":
    main()
