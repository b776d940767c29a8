"""Where the tables of trained architectures lie, and the batch that their scores were computed on."""

import csv
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from loomweight.evaluate import NasBench201, nasbench201

DATA = Path(__file__).parents[2] / os.environ.get("LOOMWEIGHT_DATA", "../shared/data")


@cache
def table() -> NasBench201:
    if not (DATA / "nasbench201").exists():
        pytest.skip(f"the table of NAS-Bench-201 is not in {DATA}")  # data that is never committed: LOOMWEIGHT_DATA may not hold it
    return nasbench201(DATA / "nasbench201")


@cache
def sample() -> list[dict[str, str]]:
    """400 cells with scores that others computed, and accuracies."""
    path = DATA / "nasbench201" / "zero_cost_sample400.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")  # data that is never committed: LOOMWEIGHT_DATA may not hold it
    with path.open() as file:
        return list(csv.DictReader(file))


def stored(name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in sample()])


@cache
def batch(size: int = 32) -> tuple[Tensor, Tensor]:
    """Images of CIFAR-10, centred and scaled by channel, and their classes."""
    path = DATA / "cifar10" / "train_small.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")  # data that is never committed: LOOMWEIGHT_DATA may not hold it
    with np.load(path) as file:
        images, labels = file["x"][:size], file["y"][:size]
    pixels = (images / 255 - np.array([0.4914, 0.4822, 0.4465])) / np.array([0.2470, 0.2435, 0.2616])
    return torch.tensor(pixels).permute(0, 3, 1, 2).float(), torch.tensor(labels).long()
