"""Predictors on NAS-Bench-201: Spearman correlation on all 15,625 architectures after a few labels.

    python bench/predictors.py [--seeds 5] [--labels 50 100 200 500] [--codes paths one-hot]
    python bench/predictors.py --search [--seeds 5]        # BOSHNAS, evolution and random search with 60 queries each

Labels are test accuracies on CIFAR-10 after 200 epochs, of architectures drawn at random. `LOOMWEIGHT_DATA` names the folder that holds `nasbench201`.
"""

import argparse
import time

import numpy as np
import torch

from loomweight.evaluate import NasBench201, nasbench201
from loomweight.search import (
    BOSHNAS,
    MLP,
    Cell,
    Choice,
    Forest,
    GaussianEnsemble,
    GaussianProcess,
    Heteroscedastic,
    ParZC,
    Predictor,
    Ranked,
    RegularisedEvolution,
    Ridge,
    Space,
    Study,
)

OPTIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELL = Cell(((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), OPTIONS)
PREDICTORS: dict[str, Predictor] = {
    "Ridge": Ridge(),
    "Forest": Forest(),
    "GaussianProcess": GaussianProcess(),
    "GaussianEnsemble": GaussianEnsemble(),
    "MLP, squared": MLP(),
    "MLP, kendall": MLP(loss="kendall"),
    "ParZC": ParZC(),
    "Heteroscedastic": Heteroscedastic(),
}
ORDER = ("MLP, kendall", "ParZC")  # their loss is of the order already


def searches(table: NasBench201, seeds: int) -> None:
    """The best test accuracy that each sampler finds with 60 queries, mean and spread over seeds."""
    space = Space({edge: Choice(options) for edge, options in table.choices.items()})
    print("| sampler | best of 60 | CPU s a trial |\n| --- | ---: | ---: |")
    for name, sampler in (("random", "random"), ("evolution", RegularisedEvolution(10, 4)), ("BOSHNAS", BOSHNAS())):
        begin = time.process_time()
        found = [Study(space, sampler=sampler, seed=seed).run(table.accuracy, 60, progress=False).best.values[0] for seed in range(seeds)]
        print(f"| {name} | {np.mean(found):.2f} ± {np.std(found):.2f} | {(time.process_time() - begin) / seeds / 60:.3f} |", flush=True)


def ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[where]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of mean ranks."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 100, 200, 500])
    parser.add_argument("--codes", nargs="+", default=["paths", "one-hot"])
    parser.add_argument("--search", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = nasbench201()
    if given.search:
        searches(table, given.seeds)
        return
    cells = [tuple(table.values(arch).values()) for arch in table]
    accuracy = table.column()
    print(f"multiply-adds alone: {spearman(table.macs, accuracy):.3f}")
    for words in given.codes:
        encode = CELL.encode if words == "paths" else CELL.one_hot
        codes, where = np.unique(np.array([encode(cell) for cell in cells]), axis=0, return_inverse=True)
        print(f"\n{words}: {codes.shape[1]} numbers, {len(codes)} different codes\n")
        print(
            "| predictor | labels as | "
            + " | ".join(f"{n}" for n in given.labels)
            + " | CPU s of the last |\n| --- | --- |"
            + " ---: |" * (len(given.labels) + 1)
        )
        for name, plain in PREDICTORS.items():
            for how, predictor in (("they are", plain), ("ranks", Ranked(plain)))[: 1 if name in ORDER else 2]:
                row = []
                for n in given.labels:
                    begin, found = time.process_time(), []
                    for seed in range(given.seeds):
                        some = np.random.default_rng(seed).permutation(len(accuracy))[:n]
                        found.append(spearman(predictor.fit(codes[where[some]], accuracy[some]).predict(codes)[where], accuracy))
                    spent = (time.process_time() - begin) / given.seeds
                    row.append(f"{np.mean(found):.3f} ± {np.std(found):.3f}")
                print(f"| {name} | {how} | " + " | ".join(row) + f" | {spent:.1f} |", flush=True)


if __name__ == "__main__":
    main()
