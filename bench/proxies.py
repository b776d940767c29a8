"""Zero-cost proxies of 400 networks of NAS-Bench-201, against accuracy and against the count of operations.

    python bench/proxies.py FILE [--count 400] [--only snip,naswot,...]

FILE (CSV) keeps what was scored, so that a stopped run goes on. The networks are those of zero_cost_sample400.csv, drawn with seed 0, in
training mode, on the first 32 images of CIFAR-10's small training set. LOOMWEIGHT_DATA names the folder of data sets. One thread; seconds
are CPU time.
"""

import argparse
import copy
import csv
import os
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from loomweight.evaluate import cell_network, proxy_scores
from loomweight.evaluate.proxies.scores import NAMES

DATA = Path(os.environ.get("LOOMWEIGHT_DATA", "../shared/data"))
STORED = {"gradient_norm": "grad_norm", "snip": "snip", "synflow": "log_synflow", "naswot": "nwot", "epsinas": "epsinas"}
#: epsinas where its outputs do not vanish
DOUBLE = "epsinas float64"
TRUTH = ("c10_test_200ep", "c100_test_200ep", "in16_test_200ep")


def batch(size: int = 32) -> tuple[Tensor, Tensor]:
    """Images, centred and scaled by channel, and their classes."""
    with np.load(DATA / "cifar10" / "train_small.npz") as file:
        images, labels = file["x"][:size], file["y"][:size]
    pixels = (images / 255 - np.array([0.4914, 0.4822, 0.4465])) / np.array([0.2470, 0.2435, 0.2616])
    return torch.tensor(pixels).permute(0, 3, 1, 2).float(), torch.tensor(labels).long()


def score(arch: str, inputs: Tensor, targets: Tensor, only: list[str]) -> dict[str, float]:
    """Every proxy of one network and its seconds."""
    torch.manual_seed(0)
    network = cell_network(arch)
    wide = copy.deepcopy(network).double()
    found: dict[str, float] = {}
    for name in only:
        model, given = (wide, inputs.double()) if name == DOUBLE else (network, inputs[:1] if name == "path_norm" else inputs)
        start = time.process_time()
        proxy = name.removesuffix(" float64")
        found[name] = proxy_scores(model, given, targets, only=(proxy,))[proxy]
        found[f"{name} s"] = time.process_time() - start
    return found


def spearman(scores: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    return float(stats.spearmanr(scores[where], truth[where])[0])


def table(cells: list[dict[str, str]], scored: list[dict[str, str]]) -> None:
    truth = [np.array([float(cell[name]) for cell in cells]) for name in TRUTH]
    macs = np.array([float(cell["macs"]) for cell in cells])
    print(f"{len(cells)} networks{'finite':>18}   Spearman C10 / C100 / IN16   stored C10   MACs there   all, undefined last   s a network")
    for name in [key for key in scored[0] if key != "arch_str" and not key.endswith(" s")]:
        scores = np.array([float(row[name]) for row in scored])
        finite = np.isfinite(scores)
        three = " / ".join(f"{spearman(scores, column, finite):.3f}" for column in truth)
        column = np.array([float(cell[STORED[name]]) for cell in cells]) if name in STORED else np.full(len(cells), np.nan)
        kept = f"{spearman(column, truth[0], np.isfinite(column)):.3f}" if name in STORED else "-"
        last = spearman(np.where(finite, scores, -np.inf), truth[0], np.ones(len(cells), bool))
        seconds = np.median([float(row[f"{name} s"]) for row in scored])
        print(f"{name:16}{finite.sum():>14}   {three:>26}   {kept:>10}   {spearman(macs, truth[0], finite):>10.3f}   {last:>19.3f}   {seconds:>11.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--only", default=",".join((*NAMES, DOUBLE)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with (DATA / "nasbench201" / "zero_cost_sample400.csv").open() as file:
        cells = list(csv.DictReader(file))[: options.count]
    scored = list(csv.DictReader(options.file.open())) if options.file.exists() else []
    inputs, targets = batch()
    with options.file.open("a", newline="") as file:
        for cell in cells[len(scored) :]:
            row = {
                "arch_str": cell["arch_str"],
                **{name: repr(value) for name, value in score(cell["arch_str"], inputs, targets, options.only.split(",")).items()},
            }
            writer = csv.DictWriter(file, list(row))
            if not scored:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            scored.append(row)
    table(cells, scored[: len(cells)])


if __name__ == "__main__":
    main()
