"""NAS-Bench-201 as a table: what each of 15,625 cells is worth, looked up instead of trained.

Paper: NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search (2020, https://arxiv.org/abs/2001.00326).
Original code: https://github.com/D-X-Y/NATS-Bench. We differ: a small table of means over seeds in the place of all training logs, so it
opens in a fraction of a second. Accuracies after 12 epochs are one short run with its own schedule, not the beginning of the run of 200.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BadParameter, unknown
from .cell import CHOICES, cell_string, cell_values
from .nasbench_file import Columns, located, read

_DATA = {"cifar10": "c10", "cifar100": "c100", "imagenet16": "in16"}

Arch = str | int | Mapping[str, str]


@dataclass(frozen=True)
class CellCost:
    """What the network of a cell costs, with 10 classes, for one image of 32 x 32.

    Args:
        params: trainable entries.
        flops: two for each multiply-add of convolutions and the linear layer.
        nbytes: of the parameters in float32.
        latency_ms: never measured, so None.
    """

    params: int
    flops: int
    nbytes: int
    latency_ms: None = None

    @property
    def macs(self) -> int:
        """Multiply-adds: half of `flops`."""
        return self.flops // 2


def nasbench201(path: str | Path | None = None, *, checked: bool = True) -> "NasBench201":
    """Open the table: accuracies of all cells after 12 and 200 epochs, their parameters, multiply-adds and isomorphism classes.

    Args:
        path: of the file or its folder; None: `nasbench201` in the folder that LOOMWEIGHT_DATA names.
        checked: compare the optima and the digest with those published; False for a table of your own in the same form.

    Raises:
        BrokenFile: it cannot be read, is cut short, or a line is not of the form: the message names the line and what is due.
        BadParameter: there is no path.

    `nasbench201().accuracy(6111)` is 94.3733, and `nasbench201().best("cifar10")` is 6111.
    """
    return NasBench201(*read(located(path), checked))


class NasBench201:
    """Cells and what they are worth. A cell is named by its architecture string, its index, or edge -> operator."""

    #: edge -> operators, from which a search space is made: `Space({edge: Choice(options) for edge, options in table.choices.items()})`
    choices = CHOICES

    def __init__(self, archs: list[str], columns: Columns) -> None:
        self.archs = tuple(archs)
        self._columns = columns
        self._index = {arch: number for number, arch in enumerate(archs)}

    def __len__(self) -> int:
        return len(self.archs)

    def __iter__(self) -> Iterator[str]:
        return iter(self.archs)

    def index(self, arch: Arch) -> int:
        """Where a cell stands in the table."""
        if isinstance(arch, int):
            if not 0 <= arch < len(self):
                raise BadParameter(f"an index is 0 to {len(self) - 1}, found {arch}.")
            return arch
        return self._index[arch] if isinstance(arch, str) and arch in self._index else self._index[cell_string(cell_values(arch))]

    def values(self, arch: Arch) -> dict[str, str]:
        """Edge -> operator."""
        return cell_values(self.archs[self.index(arch)])

    def column(self, data: str = "cifar10", split: str = "test", epochs: int = 200) -> np.ndarray:
        """Accuracy of every cell, in per cent.

        Raises:
            UnknownName: there is no such data set.
            BadParameter: there is no such split after so many epochs.
        """
        if data not in _DATA:
            raise unknown("data set", data, _DATA)
        name = f"{_DATA[data]}_{split}_{epochs}ep"
        if name not in self._columns:
            raise BadParameter(f"there is no {split} accuracy after {epochs} epochs; there are test after 12 and 200, and val after 12.")
        return self._columns[name].copy()

    def accuracy(self, arch: Arch, data: str = "cifar10", split: str = "test", epochs: int = 200) -> float:
        """In per cent; after 200 epochs a mean over the benchmark's seeds."""
        return float(self.column(data, split, epochs)[self.index(arch)])

    def best(self, data: str = "cifar10") -> int:
        """Index of the best test accuracy after 200 epochs."""
        return int(self.column(data).argmax())

    @property
    def params(self) -> np.ndarray:
        """Parameters of every cell's network, with 10 classes."""
        return self._columns["params_c10"].copy()

    @property
    def macs(self) -> np.ndarray:
        """Multiply-adds of every cell's network, for one image of 32 x 32."""
        return self._columns["macs_c10"].copy()

    def cost(self, arch: Arch) -> CellCost:
        """Parameters, operations and bytes of a cell's network."""
        row = self.index(arch)
        params, macs = int(self._columns["params_c10"][row]), int(self._columns["macs_c10"][row])
        return CellCost(params, 2 * macs, 4 * params)

    def isomorphic(self, arch: Arch) -> tuple[int, ...]:
        """Indices of all cells that compute the same function as this one, itself among them."""
        first = self._columns["iso_rep"]
        return tuple(np.flatnonzero(first == first[self.index(arch)]).tolist())

    def classes(self) -> list[tuple[int, ...]]:
        """All classes of cells that compute the same function: what their accuracies differ by is noise of training."""
        first = self._columns["iso_rep"]
        order = np.argsort(first, kind="stable")
        starts = np.flatnonzero(np.diff(first[order])) + 1
        return [tuple(group.tolist()) for group in np.split(order, starts)]
