"""How dear is a centred Gram matrix? One thread, in passes over all inputs; and the rules that live on it.

    python bench/gram.py [--millions 10] [--sets 2,3,4,8,10,32,100] [--rounds 5]

A read is one `sum` over all inputs by blocks; the floor is the in-place mean, `total.add_(x, alpha=a)` by blocks, which is what a
mean costs at least. From 32 sets on, each has a tenth of the entries. Times are CPU seconds of the thread, the best of the rounds:
other work on the machine moves them little.
"""

import argparse

import torch
from passes import best, merged, one_pass, tensors_of

from loomweight import Weights
from loomweight.engines import Inline
from loomweight.rules import GeometricMedian, Krum, Rule, Slerp
from loomweight.weights.gram import gram
from loomweight.weights.spec import spans


def read(sets: list[torch.Tensor]) -> None:
    """Every entry once."""
    for x in sets:
        for lo, hi in spans(len(x)):
            x[lo:hi].sum(dtype=torch.float32)


def row(n: int, entries: int, dtype: torch.dtype, rounds: int) -> str:
    """One line of the table."""
    tensors = tensors_of(n, entries, dtype)
    sets = [Weights.of({"w": x}) for x in tensors]
    rules: dict[str, Rule | None] = {"Krum": Krum((n - 3) // 2) if n > 2 else None, "median": GeometricMedian() if n > 1 else None}
    rules["slerp"] = Slerp(0.3) if n == 2 else None
    floor, reading, centred = best([lambda: one_pass(tensors), lambda: read(tensors), lambda: gram(sets)], rounds)
    cells = [f"{reading / floor:8.2f}", f"{centred / floor:8.2f}"]
    cells += [f"{best([lambda rule=rule: merged(sets, rule)], max(rounds // 2, 1))[0] / floor:8.2f}" if rule else f"{'-':>8}" for rule in rules.values()]
    return f"{n:4} x {entries / 1e6:5.1f}M {str(dtype)[6:]:9} {floor * 1e3:8.1f} ms {' '.join(cells)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=10)
    parser.add_argument("--sets", default="2,3,4,8,10,32,100")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'sets':28} {'floor':>9} {'read':>8} {'gram':>8} {'Krum':>8} {'median':>8} {'slerp':>8}   x floor")
    with Inline():
        for n in map(int, given.sets.split(",")):
            entries = int(given.millions * 1e6) // (10 if n >= 32 else 1)
            for dtype in (torch.float32, torch.bfloat16):
                print(row(n, entries, dtype, given.rounds), flush=True)


if __name__ == "__main__":
    main()
