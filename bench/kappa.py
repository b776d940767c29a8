"""How far do hostile clients get with each rule? The table of `loomweight.federate.robustness`, beside ByzFL's cells.

    python bench/kappa.py [--picture kappa.png] [--peer byzfl]

n = 20 clients, f = 4 of them hostile, 1000 entries, 5 seeds; kappa = |pooled - h|^2 / mean |x - h|^2. The cells of tables/kappa_byzfl.csv
are those of byzfl 0.0.11 on the very same updates; where ours is worse by more than 5 % (and 1e-12), or not finite, the cell has a star. `--peer byzfl`
makes that file anew, where byzfl is installed; its optimal attacks on MDA take minutes.
"""

import argparse
import csv
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from loomweight.engines import Inline
from loomweight.federate.report.robustness import Robustness, attacks_of, honest_updates, robustness

N, F, ENTRIES, SEEDS = 20, 4, 1000, range(5)
TABLE = Path(__file__).parent / "tables" / "kappa_byzfl.csv"
#: our row -> ByzFL's
ROWS = {
    "Mean": "Average",
    "Median": "Median",
    "TrimmedMean": "TrMean",
    "GeometricMedian": "GeometricMedian",
    "Krum": "Krum",
    "MultiKrum": "MultiKrum",
    "MultiKrum, n-f-1": "MultiKrum",
    "MeanAroundMedian": "Meamed",
    "CovarianceFilter": "CAF",
    "CenteredClip, 100": "CenteredClipping",
    "MinimumDiameter": "MDA",
    "NNM + Median": "NNM + Median",
    "NNM + TrimmedMean": "NNM + TrMean",
    "NNM + GeometricMedian": "NNM + GeometricMedian",
    "NNM + MultiKrum": "NNM + MultiKrum",
    "NNM + MinimumDiameter": "NNM + MDA",
    "Bucketing(2) + TrimmedMean": "Bucketing(2) + TrMean",
}


def worse(ours: float, theirs: float) -> bool:
    """Whether ours is worse than 5 % and 1e-12, or not finite; theirs that is not finite is no mark to beat."""
    return not math.isfinite(ours) or (math.isfinite(theirs) and ours > max(1.05 * theirs, 1e-12))


def compared(found: Robustness, peer: dict[str, dict[str, float]]) -> list[str]:
    """Lines of the table, and how many cells have a star."""
    lines, stars = [f"{'rule':28}" + "".join(f"{name:>18}" for name in found.attacks)], []
    for rule, row in zip(found.rules, found.kappa, strict=True):
        cells = []
        for attack, value in zip(found.attacks, row, strict=True):
            theirs = peer.get(ROWS.get(rule, ""), {}).get(attack)
            star = worse(value, theirs) if theirs is not None else not math.isfinite(value)
            stars += [(rule, attack)] if star else []
            cells.append(f"{value:.2g}{'*' if star else ''}" + ("" if theirs is None else f" ({theirs:.2g})"))
        lines.append(f"{rule:28}" + "".join(f"{cell:>18}" for cell in cells))
    return [*lines, f"in brackets: byzfl 0.0.11; * worse by more than 5 %, or not finite: {len(stars)} of {sum(map(len, found.kappa))}: {stars}"]


def read() -> dict[str, dict[str, float]]:
    """ByzFL's cells."""
    with TABLE.open() as file:
        return {line.pop("rule"): {name: float(value) for name, value in line.items() if value} for line in csv.DictReader(file)}


def peer_rules() -> dict[str, tuple[list, Callable]]:
    """ByzFL's pre-aggregators and rule of each row."""
    import byzfl

    alone = {
        "Median": byzfl.Median(),
        "TrMean": byzfl.TrMean(F),
        "GeometricMedian": byzfl.GeometricMedian(),
        "MultiKrum": byzfl.MultiKrum(F),
        "MDA": byzfl.MDA(F),
    }
    more = {"Average": byzfl.Average(), "Krum": byzfl.Krum(F), "Meamed": byzfl.Meamed(F), "CAF": byzfl.CAF(F)}
    rules = {name: ([], rule) for name, rule in (alone | more).items()}
    rules |= {f"NNM + {name}": ([byzfl.NNM(F)], rule) for name, rule in alone.items()}
    return rules | {"Bucketing(2) + TrMean": ([byzfl.Bucketing(2)], byzfl.TrMean(F)), "CenteredClipping": ([], byzfl.CenteredClipping)}


def peer_cell(rule: tuple[list, Callable], attack: str) -> float:
    """The mean over the seeds; NaN where a rule gives none."""
    import byzfl

    before, last = rule
    found = []
    for seed in SEEDS:
        np.random.seed(seed)  # noqa: NPY002  (byzfl draws from it)
        torch.manual_seed(seed)
        last = byzfl.CenteredClipping() if rule[1] is byzfl.CenteredClipping else rule[1]
        honest = honest_updates(N - F, ENTRIES, seed)
        attacks = {
            "SF": byzfl.SignFlipping(),
            "IPM": byzfl.InnerProductManipulation(2.0),
            "ALIE": byzfl.ALittleIsEnough(1.5),
            "OptIPM": byzfl.Optimal_InnerProductManipulation(last, before, F),
            "OptALIE": byzfl.Optimal_ALittleIsEnough(last, before, F),
            "Mimic": byzfl.Mimic(0),
            "1e20": lambda x: torch.full_like(x[0], 1e20),
            "Inf": byzfl.Inf(),
            "NaN": lambda x: torch.full_like(x[0], math.nan),
        }
        rows = torch.cat([honest, attacks[attack](honest.clone()).float().expand(F, -1)])
        for step in before:
            rows = step(rows)
        pooled = last(rows)
        middle = honest.mean(0).double()
        spread = (honest.double() - middle).square().sum(1).mean()
        found.append(math.nan if pooled is None else float((pooled.double() - middle).square().sum() / spread))
    return float(np.mean(found))


def write() -> None:
    """Make the file of ByzFL's cells."""
    names = [name for name in attacks_of(F) if name != "1 NaN"]
    with TABLE.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["rule", *names])
        for rule, parts in peer_rules().items():
            lines.writerow([rule, *(f"{peer_cell(parts, name):.4g}" for name in names)])
            file.flush()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--peer", choices=["byzfl"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.peer:
        write()
    start, cpu = time.perf_counter(), time.process_time()
    with Inline():
        found = robustness(clients=N, f=F, entries=ENTRIES, seeds=SEEDS)
    print(*compared(found, read()), sep="\n")
    print(f"{time.perf_counter() - start:.0f} s, {time.process_time() - cpu:.0f} s of CPU")
    if given.picture:
        print(found.picture(given.picture))


if __name__ == "__main__":
    main()
