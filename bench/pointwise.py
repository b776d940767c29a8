"""How dear are rules that decide entry by entry? One thread, in passes over all inputs.

    python bench/pointwise.py [--millions 8] [--sets 3,5,8,9,16,32,100,200] [--rounds 5]

A pass is `total.add_(x, alpha=a)` over all inputs by blocks, with one total of a block's size: what a mean costs at least. The
first table has order statistics (float32 and bfloat16; above 32 sets each has a tenth of the entries), the second merges around a
base of three bfloat16 sets, in nanoseconds an entry of the result, the third a streaming mean. Times are CPU seconds of the thread,
the best of the rounds, in which rules and pass take turns: other work on the machine moves them less.
"""

import argparse

import torch
from passes import best, merged, one_pass, tensors_of

from loomweight import Weights
from loomweight.edits import Drop, Trim
from loomweight.engines import Inline
from loomweight.rules import Around, ElectSign, MagMax, MajoritySign, Mean, Median, Rule, RunningMean, TrimmedMean
from loomweight.weights.spec import spans


def order_statistics(n: int, entries: int, dtype: torch.dtype, rounds: int) -> str:
    """One line of the first table."""
    tensors = tensors_of(n, entries, dtype)
    sets = [Weights.of({"w": x}) for x in tensors]
    rules = [Median(), TrimmedMean(f=max(1, n // 5)), Median(weights=tuple(float(1 + i % 3) for i in range(n)))]
    floor, *times = best([lambda: one_pass(tensors), *(lambda rule=rule: merged(sets, rule) for rule in rules)], rounds)
    cells = " ".join(f"{t / floor:9.2f}" for t in times)
    return f"{n:4} x {entries / 1e6:5.1f}M {str(dtype)[6:]:9} {floor / entries * 1e9:8.2f} ns {cells}"


def around_a_base(entries: int, rounds: int) -> list[str]:
    """The second table."""
    start, *moves = tensors_of(4, entries, torch.float32)
    base = start.mul_(0.02)
    tensors = [(base + 1e-3 * move).bfloat16() for move in moves] + [base.bfloat16()]
    *sets, around = [Weights.of({"w": x}) for x in tensors]
    rules: dict[str, Rule] = {
        "task arithmetic": Around(around, Mean(normalize=False)),
        "mag max": Around(around, MagMax()),
        "majority sign": Around(around, MajoritySign()),
        "ties": Around(around, ElectSign(), edits=(Trim(0.2),)),
        "dare ties": Around(around, ElectSign(), edits=(Drop(0.9),)),
    }
    floor, *times = best([lambda: one_pass(tensors), *(lambda rule=rule: merged(sets, rule) for rule in rules.values())], rounds)
    return [f"{name:16} {t / entries * 1e9:6.2f} ns {t / floor:6.2f} passes" for name, t in zip(rules, times, strict=True)]


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
    given = parser.parse_args()
    torch.set_num_threads(1)
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
