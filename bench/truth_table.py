"""Tables of networks trained alone: bench/tables/NAME.csv, a row for each network, a column of test accuracies for each seed."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev

from loomweight.search.space import Values

FOLDER = Path(__file__).parent / "tables"
COSTS = ("params", "macs")
SEED = "accuracy"


@dataclass
class Row:
    """A network: its configuration, what it costs, and seed -> test accuracy in per cent."""

    arch: Values
    costs: dict[str, int]
    accuracies: dict[int, float] = field(default_factory=dict)


@dataclass
class Table:
    """Rows, and lines that say how they were made."""

    header: list[str]
    rows: list[Row]

    @property
    def seeds(self) -> list[int]:
        """Those that every network was trained with."""
        return sorted(set.intersection(*(set(row.accuracies) for row in self.rows)))

    @property
    def means(self) -> list[float]:
        """Of each network over these seeds: the ranking to compare with."""
        return [mean(row.accuracies[seed] for seed in self.seeds) for row in self.rows]

    def write(self, path: Path) -> None:
        """In one step, so that a killed run leaves the table as it was."""
        text = StringIO()
        text.writelines(f"# {line}\n" for line in self.header)
        seeds = sorted({seed for row in self.rows for seed in row.accuracies})
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow([*self.rows[0].arch, *COSTS, *(f"{SEED}_{seed}" for seed in seeds)])
        for row in self.rows:
            found = (f"{row.accuracies[seed]:.2f}" if seed in row.accuracies else "" for seed in seeds)
            lines.writerow([*row.arch.values(), *(row.costs[name] for name in COSTS), *found])
        part = path.with_suffix(".part")
        part.write_text(text.getvalue())
        part.replace(path)


def read(path: Path) -> Table:
    """A table as it was written; numbers of a configuration are whole numbers."""
    lines = path.read_text().splitlines()
    header = [line[2:] for line in lines if line.startswith("# ")]
    return Table(header, [_row(found) for found in csv.DictReader(lines[len(header) :])])


def _row(found: dict[str, str]) -> Row:
    seeds = [name for name in found if name.startswith(f"{SEED}_")]
    arch = {name: int(value) if value.isdigit() else value for name, value in found.items() if name not in (*COSTS, *seeds)}
    accuracies = {int(name.rpartition("_")[2]): float(found[name]) for name in seeds if found[name]}
    return Row(arch, {name: int(found[name]) for name in COSTS}, accuracies)


def tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b; nan where one of the two is the same everywhere."""
    from scipy.stats import kendalltau

    return float(kendalltau(first, second).statistic) if len(set(first)) > 1 and len(set(second)) > 1 else float("nan")


def between_seeds(table: Table) -> list[float]:
    """Kendall's tau of two seeds, every pair: what one training run per network tells of another."""
    columns = [[row.accuracies[seed] for row in table.rows] for seed in table.seeds]
    return [tau(first, second) for first, second in combinations(columns, 2)]


def noise(table: Table) -> float:
    """Standard deviation of one network's accuracy over seeds, pooled over networks; in points."""
    squares = [sum((row.accuracies[seed] - middle) ** 2 for seed in table.seeds) for row, middle in zip(table.rows, table.means, strict=True)]
    return (sum(squares) / (len(table.rows) * (len(table.seeds) - 1))) ** 0.5


def summary(table: Table) -> dict[str, float]:
    """Spread, noise, and how well costs alone rank the networks (Kendall's tau with the mean accuracy)."""
    if not table.seeds:
        raise SystemExit("no seed is complete yet.")
    means = table.means
    found = {"networks": len(means), "seeds": len(table.seeds), "lowest": min(means), "highest": max(means), "spread": stdev(means)}
    if len(table.seeds) > 1:
        found |= {"noise": noise(table), "tau between seeds": mean(between_seeds(table))}
    return found | {f"tau of {name}": tau([row.costs[name] for row in table.rows], means) for name in COSTS}
