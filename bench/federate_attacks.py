"""Every attack on every rule: two of ten clients are hostile while a perceptron learns scikit-learn's digits (accuracy, not speed).

    python bench/federate_attacks.py [--partition dirichlet|dirichlet1|iid] [--seeds 2] [--only NNM] [--picture attacks.png]

The federation is that of bench/federate_methods.py: 64-64-10, 1,300 images to train on and 400 to test on, ten clients, all asked; the last two attack. Test
accuracy in per cent, the mean over the last three rounds and the seeds; "none" has all ten clients honest. A cell is `-` where the rule refuses what came.
"""

import argparse
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from federate_cases import CLASSES, Case, case

from loomweight import federate as fed
from loomweight.errors import LoomweightError
from loomweight.federate import Attack, Pool
from loomweight.rules import (
    Bucketing,
    CenteredClip,
    CovarianceFilter,
    GeometricMedian,
    GradientSplitting,
    Krum,
    Mean,
    MeanAroundMedian,
    Median,
    MinimumDiameter,
    MultiKrum,
    NearestNeighbourMixing,
    Rule,
    TrimmedMean,
)

COUNT, F, LAST = 10, 2, 3
RULES: Mapping[str, Rule] = {
    "Mean": Mean(),
    "Median": Median(),
    "TrimmedMean": TrimmedMean(F),
    "MeanAroundMedian": MeanAroundMedian(F),
    "GeometricMedian": GeometricMedian(),
    "Krum": Krum(F),
    "MultiKrum": MultiKrum(F),
    "MinimumDiameter": MinimumDiameter(F),
    "CovarianceFilter": CovarianceFilter(F),
    "CenteredClip": CenteredClip(start="core", iterations=3),
    "Bucketing(2) + Median": Bucketing(Median(), size=2),
    "GAS(Median, 100)": GradientSplitting(Median(), parts=100, f=F),
    "NNM + Median": NearestNeighbourMixing(Median(), F),
    "NNM + TrimmedMean": NearestNeighbourMixing(TrimmedMean(F), F),
}
ATTACKS: Mapping[str, Callable[[Rule], Attack] | None] = {
    "none": None,
    "SignFlip": lambda rule: fed.SignFlip(),
    "IPM": lambda rule: fed.InnerProduct(),
    "ALIE": lambda rule: fed.Alie(),
    "OptIPM": lambda rule: fed.OptimalInnerProduct(rule, F),
    "OptALIE": lambda rule: fed.OptimalAlie(rule, F),
    "Mimic": lambda rule: fed.Mimic(),
    "LabelFlip": lambda rule: fed.LabelFlip(CLASSES),
    "Gaussian": lambda rule: fed.Gaussian(),
    "1e20": lambda rule: fed.TooLarge(),
    "Replay": lambda rule: fed.Replay(),
    "Duplicate": lambda rule: fed.Duplicate("client 0"),
    "Weight": lambda rule: fed.WeightLie(),
    "Inf": lambda rule: fed.Infinite(),
    "1 NaN": lambda rule: fed.OneNaN(),
    "NaN": lambda rule: fed.AllNaN(),
    "Shape": lambda rule: fed.WrongShape(),
    "Names": lambda rule: fed.WrongNames(),
    "Dtype": lambda rule: fed.WrongDtype(),
    "Huge": lambda rule: fed.HugeMessage(),
}
PARTITIONS: Mapping[str, fed.Partition] = {"iid": fed.Iid(), "dirichlet": fed.Dirichlet(0.1, smallest=0), "dirichlet1": fed.Dirichlet(1.0, smallest=0)}


def cell(rule: Rule, attack: Callable[[Rule], Attack] | None, world: Case) -> float:
    """Accuracy at the end; NaN where the rule refuses."""
    hostile = list(world.clients)[-F:] if attack else []
    strategy = world.strategy(aggregate=Pool(rule), guard=fed.Guard(few="skip"))
    try:
        history = world.run(strategy, attackers={name: attack(rule) for name in hostile if attack})
    except LoomweightError as error:
        print(f"{rule!r} under {attack}: {error}")
        return float("nan")
    return mean(line["accuracy"] for line in history[-LAST:])


def picture(rows: Mapping[str, list[float]], path: Path) -> None:
    """A heat map."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.5 + 0.55 * len(ATTACKS), 1.5 + 0.35 * len(rows)), layout="constrained")
    panel = figure.subplots()
    values = 100 * np.array(list(rows.values()))
    image = panel.imshow(values, cmap="RdYlGn", vmin=0, vmax=100, aspect="auto")
    panel.set_xticks(range(len(ATTACKS)), list(ATTACKS), rotation=45, ha="right")
    panel.set_yticks(range(len(rows)), list(rows))
    for (i, j), value in np.ndenumerate(values):
        panel.text(j, i, "-" if np.isnan(value) else f"{value:.0f}", ha="center", va="center", fontsize=7)
    panel.set_title("Test accuracy in per cent, two of ten clients hostile", fontsize=10)
    figure.colorbar(image, ax=panel, shrink=0.8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Row after row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partition", default="dirichlet", choices=sorted(PARTITIONS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--picture", type=Path)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("loomweight.federate").setLevel(logging.ERROR)
    worlds = [case("digits", COUNT, seed, settings.rounds, settings.steps, PARTITIONS[settings.partition]) for seed in range(settings.seeds)]
    print(f"| {settings.partition} | {' | '.join(ATTACKS)} |\n|---|{'---:|' * len(ATTACKS)}", flush=True)
    rows: dict[str, list[float]] = {}
    for name, rule in RULES.items():
        if settings.only in name:
            rows[name] = [mean(cell(rule, attack, world) for world in worlds) for attack in ATTACKS.values()]
            print(f"| {name} | {' | '.join('-' if value != value else f'{100 * value:.0f}' for value in rows[name])} |", flush=True)
    if settings.picture:
        picture(rows, settings.picture)


if __name__ == "__main__":
    main()
