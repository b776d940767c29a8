"""What methods of federate are worth on real data with labels as one-sided as Dirichlet(0.1) makes them (accuracy, not speed).

    python bench/federate_methods.py [--only FedAvg,SCAFFOLD] [--data digits,fashion] [--clients 10,100] [--seeds 5] [--keep found.jsonl]

scikit-learn's digits (1,300 images to train on, 400 to test on; 64-64-10) and a part of Fashion-MNIST (6,000 and 2,000; 784-64-10); ten clients, all asked, and
a hundred, twenty of them asked each round. Every task makes the same number of steps of SGD on batches of 20. Accuracy is the mean over the last five rounds;
"worst" that of the worst tenth of the clients, each with test images in the proportions of its own labels. Every line is printed as it is found, and tables at
the end; `--keep` adds the lines to a file, from which a second run takes what is there (all of it, with `--seeds 0`).
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from federate_cases import case
from federate_ways import METHODS

from loomweight.errors import LoomweightError

Line = dict[str, Any]
KEY = ("data", "clients", "seed", "method")


def found(method: str, data: str, count: int, seed: int, settings: argparse.Namespace) -> Line | None:
    """One run, with what it cost."""
    begun = time.process_time()
    try:
        numbers = METHODS[method](case(data, count, seed, settings.rounds, settings.steps))
    except LoomweightError as error:
        numbers = {"accuracy": float("nan"), "worst": float("nan"), "up": float("nan")}
        print(f"{method}: {error}")
    return None if numbers is None else {"data": data, "clients": count, "seed": seed, "method": method, **numbers, "cpu": time.process_time() - begun}


def table(lines: Sequence[Line], data: str, counts: Sequence[int]) -> str:
    """Accuracy and the worst tenth in per cent, with standard deviations over seeds."""
    seeds = {count: len({one["seed"] for one in lines if (one["data"], one["clients"]) == (data, count)}) for count in counts}
    head = " | ".join(f"{count} clients (seeds: {seeds[count]}): accuracy | worst tenth | MB up" for count in counts)
    rows = [f"| {data} | {head} |", "|---|" + "---:|" * (3 * len(counts))]
    for method in METHODS:
        cells = [cell for count in counts for cell in cells_of([one for one in lines if (one["data"], one["clients"], one["method"]) == (data, count, method)])]
        if any(cells):
            rows.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(rows)


def cells_of(lines: Sequence[Line]) -> list[str]:
    """Of one method."""
    if not lines:
        return ["", "", ""]
    return [*(spread([100 * one[name] for one in lines]) for name in ("accuracy", "worst")), f"{mean(one['up'] for one in lines):.2f}"]


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{mean(values):.1f}"


def kept(path: Path | None) -> list[Line]:
    """Lines of an earlier run."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="methods, by commas; part of a name is enough")
    parser.add_argument("--data", default="digits,fashion")
    parser.add_argument("--clients", default="10,100")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--keep", type=Path)
    return parser.parse_args()


def main() -> None:
    """Seed after seed, so that whatever is done when it is stopped can be read."""
    settings = arguments()
    torch.set_num_threads(1)
    logging.getLogger("loomweight.federate").setLevel(logging.ERROR)
    wanted = [method for method in METHODS if not settings.only or any(part.strip() in method for part in settings.only.split(","))]
    counts = [int(count) for count in settings.clients.split(",")]
    lines = kept(settings.keep)
    known = {tuple(line[name] for name in KEY) for line in lines}
    for seed, data, count, method in ((s, d, c, m) for s in range(settings.seeds) for d in settings.data.split(",") for c in counts for m in wanted):
        if (data, count, seed, method) in known or not (line := found(method, data, count, seed, settings)):
            continue
        lines.append(line)
        print(f"{data} {count} seed {seed} {method}: {line['accuracy']:.3f}, worst {line['worst']:.3f}, {line['up']:.2f} MB, {line['cpu']:.1f} s", flush=True)
        if settings.keep and line["accuracy"] == line["accuracy"]:
            with settings.keep.open("a") as file:
                file.write(json.dumps(line) + "\n")
    for data in settings.data.split(","):
        print(f"\n{table(lines, data, counts)}")
    print(f"\n{sum(line['cpu'] for line in lines):.0f} CPU seconds")


if __name__ == "__main__":
    main()
