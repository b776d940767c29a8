"""What does it cost to pool updates by a robust rule? One thread, in in-place means of all updates; and memory beyond the updates.

    python bench/federate_rules.py [--cases 10x10:20,100x1:10,32x25:50] [--rounds 2] [--rules "Median;Krum"] [--peer byzfl]

A case is clients x millions of float32 entries : equal layers; f is a fifth of the clients (Bulyan: what it can bear). The floor is
`total.add_(x, alpha=a)` over all updates into one model of memory. A rule makes the whole pooled update, as an aggregate does; the streaming mean
is `Pool()`, which takes replies one by one. Times are CPU seconds of the thread, the best of the rounds, in which floor and rule take turns.
Memory is the peak of the process above what it held before, the pooled update among it. With `--peer byzfl` its rules follow, on stacked updates,
where it is installed; it keeps copies of everything, so leave 32x25 out on small machines.
"""

import argparse
import ctypes
import time
from collections.abc import Callable
from pathlib import Path

import torch

from loomweight.engines import Inline
from loomweight.federate import Book, Pool, Reply, rules_against
from loomweight.rules import GradientSplitting, combine

State = dict[str, torch.Tensor]


def updates(n: int, millions: float, layers: int) -> list[State]:
    """Independent normal numbers around a common middle, in equal layers."""
    size = int(millions * 1e6) // layers
    rows = [torch.randn(size * layers, generator=torch.Generator().manual_seed(i)).mul_(0.01) for i in range(n)]
    return [{f"layer.{i}": part for i, part in enumerate(row.chunk(layers))} for row in rows]


def floor(states: list[State]) -> State:
    """The in-place mean."""
    total = {name: torch.zeros_like(tensor) for name, tensor in states[0].items()}
    for state in states:
        for name, tensor in state.items():
            total[name].add_(tensor, alpha=1 / len(states))
    return total


def streamed(states: list[State]) -> State:
    """One update after the other."""
    pool, held = Pool(), {}
    for i, update in enumerate(states):
        pool.add(held, Reply(str(i), 0, update, 10.0 + i), {})
    return pool.change(held, Book(0, ()))


def bodies(states: list[State]) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    n = len(states)
    f = n // 5
    rules = rules_against(n, f)
    rules["GAS(MultiKrum, 10)"] = GradientSplitting(rules["MultiKrum"], parts=10, f=f)

    def pooled(rule: object) -> Callable[[], object]:
        return lambda: dict(combine(states, rule).items())  # type: ignore[arg-type]

    return {"streaming mean": lambda: streamed(states), **{name: pooled(rule) for name, rule in rules.items()}}


def peers(states: list[State]) -> dict[str, Callable[[], object]]:
    """ByzFL's rules on stacked updates."""
    import byzfl

    n = len(states)
    f, rows = n // 5, torch.stack([torch.cat(list(state.values())) for state in states])
    rules = [byzfl.Average(), byzfl.Median(), byzfl.TrMean(f), byzfl.GeometricMedian(), byzfl.Krum(f), byzfl.MultiKrum(f), byzfl.Meamed(f), byzfl.CAF(f)]
    rules.append(byzfl.CenteredClipping())
    return {f"byzfl {type(rule).__name__}": lambda rule=rule: rule(rows) for rule in rules}


def peak(body: Callable[[], object]) -> float:
    """MB that the process grows by at most while it runs; needs Linux."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    body()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)).split()[1])


def measured(states: list[State], body: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """CPU seconds of the floor and of the body, and memory."""
    times = [float("inf")] * 2
    memory = peak(body)
    for _ in range(rounds):
        for i, each in enumerate((lambda: floor(states), body)):
            start = time.thread_time()
            each()
            times[i] = min(times[i], time.thread_time() - start)
    return times[0], times[1], memory


def main() -> None:
    """Print a table for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="10x10:20,100x1:10,32x25:50")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rules", help="names, as the table has them, with ; between them; all by default")
    parser.add_argument("--peer", choices=["byzfl"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for case in given.cases.split(","):
        clients, rest = case.split("x")
        millions, layers = rest.split(":")
        states = updates(int(clients), float(millions), int(layers))
        every = bodies(states) | (peers(states) if given.peer else {})
        floors = []
        print(f"\n{clients} clients x {millions}M entries in {layers} layers", flush=True)
        for name, body in every.items():
            if given.rules and name not in given.rules.split(";"):
                continue
            with Inline():
                least, seconds, memory = measured(states, body, given.rounds)
            floors.append(least)
            print(f"  {name:28} {seconds:8.3f} s {seconds / least:7.1f} x   +{memory:6.0f} MB", flush=True)
        print(f"  floor {min(floors):.3f} ... {max(floors):.3f} s; one model is {float(millions) * 4e6 / 2**20:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
