"""Spaces and tables that the tests of samplers share."""

import csv
import os
import re
from functools import cache
from pathlib import Path

import pytest

from loomweight.search import Choice, Ordered, Space, Values

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
#: a cell of NAS-Bench-201: an operation on each of six edges
CELL = Space({f"edge{i}": Choice(OPERATIONS) for i in range(6)})

#: three layers at most, whose widths matter where they are there
NET = Space(
    {"depth": Ordered((1, 2, 3)), **{f"width{i}": Ordered((8, 16, 32, 64)) for i in (1, 2, 3)}, "op": Choice(("conv", "skip", "pool"))},
    depends={"width2": ("depth", (2, 3)), "width3": ("depth", (3,))},
)


@cache
def table() -> dict[tuple[str, ...], tuple[float, float]]:
    """Operations -> accuracy on CIFAR-10 after 12 epochs (validation) and 200 epochs (test)."""
    path = Path(__file__).parents[2] / os.environ.get("LOOMWEIGHT_DATA", "../shared/data") / "nasbench201" / "nasbench201_accuracies.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")  # data that is never committed: LOOMWEIGHT_DATA may not hold it
    with path.open() as file:
        return {
            tuple(re.findall(r"([a-z_0-9]+)~\d", row["arch_str"])): (float(row["c10_val_12ep"]), float(row["c10_test_200ep"])) for row in csv.DictReader(file)
        }


def after_12_epochs(values: Values) -> float:
    return table()[tuple(values.values())][0]


def after_200_epochs(values: Values) -> float:
    return table()[tuple(values.values())][1]


def size(values: Values) -> float:
    """What a network costs: its widths, layer by layer."""
    return float(sum(values[f"width{i}"] for i in range(1, values["depth"] + 1)) * (2 if values["op"] == "conv" else 1))


def apart(a: Values, b: Values) -> int:
    """In how many fields two configurations differ."""
    return sum(a[name] != b[name] for name in a)
