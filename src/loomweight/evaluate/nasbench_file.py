"""The table of NAS-Bench-201 as a file: read in one pass, refused where it is not what it should be."""

import csv
import hashlib
import os
from pathlib import Path

import numpy as np

from ..errors import BadParameter, BrokenFile
from .cell import all_cells

FILE = "nasbench201_accuracies.csv"
DIGEST = "c4fe88cdb9cc80281d65116e60cfa3766a85d68f2a1638a197aa66078cc68a0e"
ACCURACIES = (
    *("c10_val_12ep", "c10_test_12ep", "c100_val_12ep", "c100_test_12ep", "in16_val_12ep", "in16_test_12ep"),
    *("c10_test_200ep", "c100_test_200ep", "in16_test_200ep"),
)
WHOLE = ("index", "iso_rep", "params_c10", "macs_c10")
HEADER = ("index", "arch_str", *ACCURACIES, "iso_rep", "params_c10", "macs_c10")
#: the published optima at 200 epochs: accuracy in per cent, index
OPTIMA = {"c10_test_200ep": (94.37, 6111), "c100_test_200ep": (73.51, 9930), "in16_test_200ep": (47.31, 857)}

Columns = dict[str, np.ndarray]


def located(path: str | Path | None) -> Path:
    """The file that a user means: it, its folder, or where LOOMWEIGHT_DATA says."""
    if path is None and "LOOMWEIGHT_DATA" not in os.environ:
        raise BadParameter(f"no path was given; give that of {FILE}, or set LOOMWEIGHT_DATA to the folder of data sets.")
    where = Path(path) if path is not None else Path(os.environ["LOOMWEIGHT_DATA"]) / "nasbench201"
    return where / FILE if where.is_dir() else where


def read(path: Path, checked: bool) -> tuple[list[str], Columns]:
    """Architecture strings and columns.

    Raises:
        BrokenFile: it cannot be read, or is not the table.
    """
    try:
        data = path.read_bytes()
        lines = list(csv.reader(data.decode("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenFile(f"{path}: the table of NAS-Bench-201 cannot be read: {error}.") from error
    _check_form(path, lines, complete=data.endswith(b"\n"))
    names, *columns = zip(*lines, strict=True)
    table = dict(zip((first for first, *_ in [names, *columns]), (rest for _, *rest in [names, *columns]), strict=True))
    archs = list(table.pop("arch_str"))
    numbers = {name: _numbers(path, name, texts) for name, texts in table.items()}
    _check_rows(path, archs, numbers)
    if checked:
        _check_content(path, data, numbers)
    return archs, numbers


def _check_form(path: Path, lines: list[list[str]], complete: bool) -> None:
    if not lines or tuple(lines[0]) != HEADER:
        raise BrokenFile(f"{path}: the first line should be {','.join(HEADER)}, found {','.join(lines[0]) if lines else 'nothing'}.")
    for number, line in enumerate(lines, 1):
        if len(line) != len(HEADER):
            cut = "; the file ends there, it is cut short" if number == len(lines) and not complete else ""
            raise BrokenFile(f"{path}, line {number}: {len(HEADER)} columns are due, found {len(line)}{cut}.")


def _numbers(path: Path, name: str, texts: list[str]) -> np.ndarray:
    try:
        values = np.array(texts, dtype=np.float64)
    except ValueError:
        values = np.array([_number(text) for text in texts])
    low, high = (0.0, 100.0) if name in ACCURACIES else (0.0, 1e12)
    bad = ~((values >= low) & (values <= high) & ((name in ACCURACIES) | (values == np.floor(values))))
    if bad.any():
        row = int(bad.argmax())
        due = "an accuracy in per cent" if name in ACCURACIES else "a whole number"
        raise BrokenFile(f"{path}, line {row + 2}: {name} should be {due}, found {texts[row]!r}.")
    return values if name in ACCURACIES else values.astype(np.int64)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _check_rows(path: Path, archs: list[str], columns: Columns) -> None:
    due = set(all_cells())
    for number, arch in enumerate(archs):
        if arch not in due:
            raise BrokenFile(f"{path}, line {number + 2}: {arch!r} is no architecture, or stands there twice.")
        due.remove(arch)
    if due:
        raise BrokenFile(f"{path}: {len(archs)} of {len(archs) + len(due)} architectures are there; {min(due)!r} is missing. Is the file cut short?")
    index, first = columns["index"], columns["iso_rep"]
    if (index != np.arange(len(index))).any() or (first > index).any() or (first[first] != first).any():
        raise BrokenFile(f"{path}: index should count from 0, and iso_rep be the first index of each class.")


def _check_content(path: Path, data: bytes, columns: Columns) -> None:
    for name, (best, where) in OPTIMA.items():
        found = int(columns[name].argmax())
        if found != where or round(float(columns[name][found]), 2) != best:
            raise BrokenFile(f"{path}: the best {name} should be {best} at index {where}, found {columns[name][found]} at {found}.")
    if (digest := hashlib.sha256(data).hexdigest()) != DIGEST:
        raise BrokenFile(f"{path}: sha256 should be {DIGEST}, found {digest}; the numbers were changed. checked=False reads them all the same.")
