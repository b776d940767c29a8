"""Supernets graded against networks trained alone: does the accuracy with shared weights rank the networks of bench/ground_truth.py?

    python bench/supernet_ranking.py blocks|pooling [--seeds 3] [--passes 640] [--only "METHOD;..."] [--show] [--against 2]

Of the 10,000 images that the networks of the table were trained on, supernets are trained on the first 8,000; the last 2,000 score their subnets, each with
BatchNorm statistics of its own from 256 images of the training. A killed run goes on: scores are written after every supernet, to
bench/tables/supernets_SPACE.csv. `--show` trains nothing and prints the comparison, as a table of Markdown; `--against` says how many seeds of the networks
trained alone count. The methods are in bench/supernet_methods.py.
"""

import argparse
import csv
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from apart_models import Split, batches
from supernet_methods import BATCH, METHODS, Run, begun
from truth_spaces import TRUTHS, Truth
from truth_table import FOLDER, Table
from truth_table import read as read_truth

from loomweight.evaluate import RankedScore, Ranking, SeedNoise, kendall, ranking, run_variance, seed_noise
from loomweight.supernet import Elastic

TRAINED = 8000
COLUMNS = ("method", "seed", "passes", "cpu_seconds")


@dataclass(frozen=True)
class Supernet:
    """What one supernet, after so many passes, gave the networks of the table, in per cent and in the order of the table."""

    method: str
    seed: int
    passes: int
    seconds: float
    scores: tuple[float, ...]


def header(name: str, passes: int) -> list[str]:
    """How the scores are made; a file with another header is not continued."""
    return [
        f"Accuracy in per cent of the subnets of supernets on held-out images: space {name!r} of bench/truth_spaces.py, a column for each row of {name}.csv.",
        f"Made by `python bench/supernet_ranking.py {name} --passes {passes}`; a supernet may be there more than once, after some of its passes and after all.",
        f"torch {torch.__version__}, Python {platform.python_version()}, one CPU thread. cpu_seconds: of the training so far.",
    ]


def path_of(name: str) -> Path:
    """The committed scores."""
    return FOLDER / f"supernets_{name}.csv"


def read(path: Path) -> tuple[list[str], list[Supernet]]:
    """Scores as they were written, and how they were made."""
    lines = path.read_text().splitlines()
    made = [line[2:] for line in lines if line.startswith("# ")]
    rows = list(csv.reader(lines[len(made) + 1 :]))
    return made, [Supernet(row[0], int(row[1]), int(row[2]), float(row[3]), tuple(map(float, row[4:]))) for row in rows]


def write(path: Path, made: list[str], found: Sequence[Supernet]) -> None:
    """In one step."""
    text = StringIO()
    text.writelines(f"# {line}\n" for line in made)
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*COLUMNS, *(f"score_{place}" for place in range(len(found[0].scores)))])
    for one in found:
        lines.writerow([one.method, one.seed, one.passes, f"{one.seconds:.1f}", *(f"{score:.2f}" for score in one.scores)])
    part = path.with_suffix(".part")
    part.write_text(text.getvalue())
    part.replace(path)


def split(truth: Truth) -> tuple[Split, Split]:
    """Images to train on and to score on, out of those that the networks of the table were trained on."""
    images, labels = truth.data()[0]
    images = images.contiguous(memory_format=torch.channels_last)
    return (images[:TRAINED], labels[:TRAINED]), (images[TRAINED:], labels[TRAINED:])


def scored(run: Run) -> tuple[float, ...]:
    """Accuracy of every subnet, with BatchNorm statistics of its own."""
    net: Elastic = run.net.eval()
    net.calibrate([run.train[0][start : start + BATCH] for start in range(0, 4 * BATCH, BATCH)])
    with torch.no_grad():
        right = [sum(int((net.select(arch)(images).argmax(1) == labels).sum()) for images, labels in batches(run.held, 500)) for arch in run.archs]
    return tuple(100 * count / len(run.held[1]) for count in right)


def supernets(name: str, method: str, seed: int, data: tuple[Split, Split], passes: int) -> list[Supernet]:
    """One training; the first method is also scored after a half of it."""
    run, found = begun(TRUTHS[name], data, seed, passes), list[Supernet]()
    begin, scoring = time.process_time(), 0.0

    def look(done: int) -> None:
        nonlocal scoring
        took = time.process_time() - begin - scoring
        found.append(Supernet(method, seed, done, took, scored(run)))
        scoring = time.process_time() - begin - took

    run.look = look if method == next(iter(METHODS[name])) else None
    METHODS[name][method](run)
    look(passes)
    return found


def fill(name: str, path: Path, seeds: int, passes: int, only: Sequence[str]) -> None:
    """Train what is missing, seed after seed."""
    made, found = header(name, passes), list[Supernet]()
    if path.exists():
        before, found = read(path)
        if before != made:
            raise SystemExit(f"{path} was made by other settings or versions:\n" + "\n".join(before) + "\nGive another --table, or remove it.")
    there = {(one.method, one.seed) for one in found if one.passes == passes}
    data = split(TRUTHS[name])
    for seed in range(seeds):
        for method in only:
            if (method, seed) not in there:
                found += supernets(name, method, seed, data, passes)
                write(path, made, found)
                print(f"{method}, seed {seed}: mean {mean(found[-1].scores):.2f}, {found[-1].seconds:.0f} s of training", flush=True)


@dataclass(frozen=True)
class Grade:
    """A method beside what anyone can count.

    Args:
        taus: of each supernet.
        ranked: of scores averaged over its supernets.
        accuracy: mean over subnets and supernets.
        best: what the network with the best scores reaches alone, mean over supernets.
        seconds: of training, mean over supernets.
    """

    method: str
    taus: tuple[float, ...]
    ranked: Ranking
    accuracy: float
    best: float
    seconds: float


def of_seeds(table: Table, count: int | None) -> Table:
    """The table as it was with so many seeds; None for all that are complete."""
    kept = table.seeds if count is None else [seed for seed in table.seeds if seed < count]
    return replace(table, rows=[replace(row, accuracies={seed: row.accuracies[seed] for seed in kept}) for row in table.rows])


def noise_of(table: Table) -> SeedNoise | None:
    """Between seeds; None where there is one only."""
    return seed_noise([list(row.accuracies.values()) for row in table.rows]) if len(table.seeds) > 1 else None


def counts(table: Table) -> dict[str, list[int]]:
    """Costs in which the networks of a table differ."""
    every = {name: [row.costs[name] for row in table.rows] for name in table.rows[0].costs}
    return {name: values for name, values in every.items() if len(set(values)) > 1}


def graded(table: Table, found: Sequence[Supernet]) -> list[Grade]:
    """Every method that is there, the best first."""
    noise = noise_of(table)
    spread, ceiling = (noise.spread, noise.ceiling.value) if noise else (None, None)
    last = max(one.passes for one in found)
    grades = []
    for method in dict.fromkeys(one.method for one in found):
        mine = [one for one in found if one.method == method and one.passes == last]
        taus = tuple(kendall(one.scores, table.means, resamples=0).value for one in mine)
        middle = np.mean([one.scores for one in mine], axis=0)
        ranked = ranking(middle, table.means, counts(table), name=method, noise=spread, ceiling=ceiling)
        best = mean(table.means[int(np.argmax(one.scores))] for one in mine)
        grades.append(Grade(method, taus, ranked, float(middle.mean()), best, mean(one.seconds for one in mine)))
    return sorted(grades, key=lambda grade: -mean(grade.taus))


def lines_of(table: Table, found: Sequence[Supernet]) -> list[str]:
    """The comparison as a table of Markdown."""
    grades = graded(table, found)
    first = grades[0].ranked
    lines = ["| scores by | tau of each supernet | tau of their mean | beyond noise | rho over best count | its first, alone, % | mean accuracy, % | CPU s |"]
    lines.append("| --- | --- | --- | ---: | --- | ---: | ---: | ---: |")
    for grade in grades:
        taus, score = ", ".join(f"{tau:.2f}" for tau in grade.taus), grade.ranked.score
        lines.append(
            f"| {grade.method} | {taus} | {brief(score.tau)} | {beyond(score)} | {brief(grade.ranked.gain)} "
            f"| {grade.best:.1f} | {grade.accuracy:.1f} | {grade.seconds:.0f} |"
        )
    lines += [f"| count of {row.name} | | {brief(row.tau)} | {beyond(row)} | | {first_by(table, row.name):.1f} | | |" for row in first.baselines]
    noise = noise_of(table)
    return [
        *lines,
        f"| another seed, trained alone | | {brief(noise.ceiling) if noise else 'one seed only'} | | | {max(table.means):.1f} | {mean(table.means):.1f} | |",
    ]


def first_by(table: Table, cost: str) -> float:
    """What the networks of the highest cost reach alone, on average."""
    most = max(row.costs[cost] for row in table.rows)
    return mean(value for row, value in zip(table.rows, table.means, strict=True) if row.costs[cost] == most)


def beyond(row: RankedScore) -> str:
    """Tau beyond the noise of seeds, where that is known."""
    return f"{row.sparse.value:.2f}" if row.sparse else ""


def brief(interval: object) -> str:
    """value [low, high], two digits."""
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"  # type: ignore[attr-defined]


def variance(table: Table, found: Sequence[Supernet]) -> str:
    """How far supernets of the method that is followed agree with each other and along their training."""
    method = next(one.method for one in found)
    seeds = sorted({one.seed for one in found})
    every = np.array([[one.scores for one in found if (one.method, one.seed) == (method, seed)] for seed in seeds])
    runs = run_variance(every, table.means)
    return (
        f"{method}: tau between runs {runs.between_runs:.2f}, between a half and all of a run {runs.between_epochs:.2f}; "
        f"an accuracy varies by {runs.spread:.2f} points between runs; two runs share {runs.common:.2f} of their best ten."
    )


def show(name: str, path: Path, against: int | None = None) -> None:
    """The comparison."""
    truth, (_, found) = FOLDER / f"{name}.csv", read(path)
    if not truth.exists():
        raise SystemExit(f"there is no {truth} to compare with; make it by `python bench/ground_truth.py {name}`.")
    table = of_seeds(read_truth(truth), against)
    print("\n".join(lines_of(table, found)))
    if len({one.seed for one in found}) > 1:
        print(variance(table, found))


def main() -> None:
    """Train and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=640)
    parser.add_argument("--only", help="methods, separated by semicolons")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--against", type=int, help="seeds of the networks trained alone; all of them without it")
    options = parser.parse_args()
    path = options.table or path_of(options.space)
    torch.set_num_threads(1)
    if not options.show:
        only = options.only.split(";") if options.only else list(METHODS[options.space])
        fill(options.space, path, options.seeds, options.passes, only)
    show(options.space, path, options.against)


if __name__ == "__main__":
    main()
