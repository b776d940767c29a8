"""The table of NAS-Bench-201 for tests: cells, their codes, what they are worth."""

import csv
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from loomweight.search import Cell
from loomweight.search.predict.predictor import Array

FOLDER = Path(__file__).parents[3] / os.environ.get("LOOMWEIGHT_DATA", "../shared/data") / "nasbench201"
CELL = Cell(((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))


@dataclass(frozen=True)
class Table:
    """CIFAR-10 after 200 epochs, and multiply-adds."""

    cells: list[tuple[str, ...]]
    codes: Array
    one_hot: Array
    accuracy: Array
    macs: Array


@cache
def table() -> Table:
    rows = read("nasbench201_accuracies.csv")
    cells = [tuple(re.findall(r"(\w+)~\d", row["arch_str"])) for row in rows]
    codes, one_hot = (np.array([code(cell) for cell in cells]) for code in (CELL.encode, CELL.one_hot))
    return Table(cells, codes, one_hot, column(rows, "c10_test_200ep"), column(rows, "macs_c10"))


def read(name: str) -> list[dict[str, str]]:
    if not (FOLDER / name).exists():
        pytest.skip(f"the table {FOLDER / name} is not here; nothing was compared with it")  # data that is never committed
    with (FOLDER / name).open() as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> Array:
    return np.array([float(row[name]) for row in rows])


def labelled(seed: int, n: int, of: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(of)[:n]


def spearman(a: Array, b: Array) -> float:
    """Pearson's correlation of mean ranks."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Array) -> Array:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(np.cumsum(counts) - (counts - 1) / 2)[where]
