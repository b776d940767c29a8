"""Networks trained apart, averaged: as they are, after alignment, after repair.

    python bench/apart.py FOLDER [--only digits-vgg,...] [--pairs 5] [--draw barrier.png]

FOLDER keeps the networks (bench/apart_train.py trains those that are missing). Test accuracies in per cent, mean and spread over pairs.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from apart_models import accuracy, batches, loss
from apart_train import CASES, Case, network
from torch import Tensor, nn

from loomweight.align import Network, activation_costs, activation_matching, loaded, ot_fusion, pleas, renew_batch_norm, repair, weight_matching
from loomweight.align.features import Fit
from loomweight.evaluate import between
from loomweight.weights import Weights, from_module
from loomweight.weights.axes import Axes, axes


@dataclass
class Pair:
    """Two networks trained apart, and what is needed to align them."""

    case: Case
    models: tuple[nn.Module, nn.Module]
    table: Axes
    inputs: list[Tensor]

    @property
    def weights(self) -> tuple[Weights, Weights]:
        """Of both; counters of BatchNorm, which no average uses, are those of the first."""
        first, second = (from_module(model) for model in self.models)
        return first, Weights.of({name: tensor if tensor.is_floating_point() else first[name] for name, tensor in second.items()})

    def model(self, weights: Weights) -> nn.Module:
        """A network with these weights."""
        return loaded(self.case.make().eval(), weights)

    def repaired(self, weights: Weights, *parents: Weights, t: float = 0.5) -> Weights:
        """With the parents' statistics."""
        return repair(self.table, self.model(weights), parents, self.inputs, shares=[1 - t, t])


def made(case: Case, folder: Path, name: str, number: int) -> Pair:
    """The pair of seeds 2n and 2n + 1."""
    models = (network(folder, name, 2 * number), network(folder, name, 2 * number + 1))
    train = case.data()[0]
    inputs = [images for images, _ in batches((train[0][:2000], train[1][:2000]), 200)]
    return Pair(case, models, axes(models[0], inputs[0][:2]), inputs)


def aligners(pair: Pair) -> dict[str, Callable[[Weights, Weights], Weights]]:
    """What brings the second network into the coordinates of the first."""
    first, second = pair.models
    table = pair.table

    def transported(a: Weights, b: Weights) -> Weights:
        costs = activation_costs(Network(table, second), Network(table, first), pair.inputs)
        return ot_fusion(table, b, table, a, costs=costs)(b)

    return {
        "as they are": lambda a, b: b,
        "OT, weights": lambda a, b: ot_fusion(table, b, table, a)(b),
        "OT, activations": transported,
        "weight matching": lambda a, b: weight_matching(table, b, a)(b),
        "activation matching": lambda a, b: activation_matching(table, second, first, pair.inputs)(b),
    }


def measured(pair: Pair) -> dict[str, float]:
    """Row -> test accuracy of the average."""
    test = pair.case.data()[1]
    a, b = pair.weights
    table, (first, second) = pair.table, pair.models
    transformer = any(isinstance(module, nn.TransformerEncoder) for module in first.modules())
    found = {"parents": mean(accuracy(pair.model(w), test) for w in (a, b))}
    for name, align in aligners(pair).items():
        moved = align(a, b)
        middle = between(a, moved, 0.5)
        found[name] = accuracy(pair.model(middle), test)
        if not transformer:
            found[f"{name} + repair"] = accuracy(pair.model(pair.repaired(middle, a, moved)), test)
    if not transformer:
        match = activation_matching(table, second, first, pair.inputs)
        merged = pleas(pair.table, b, a, match=match, fit=Fit(first, pair.inputs, progress=False))
        model = pair.model(merged.weights)
        found["PLeaS, width 1"] = accuracy(pair.model(renew_batch_norm(model, pair.inputs)) if has_norms(model) else model, test)
    return found


def has_norms(model: nn.Module) -> bool:
    """Whether a network has batch normalizations."""
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def curves(pair: Pair, steps: int = 9) -> dict[str, list[float]]:
    """Test loss along the segment: as they are, matched, matched and repaired."""
    test = pair.case.data()[1]
    a, b = pair.weights
    moved = weight_matching(pair.table, b, a)(b)
    ts = [i / (steps - 1) for i in range(steps)]
    return {
        "as they are": [loss(pair.model(between(a, b, t)), test) for t in ts],
        "matched": [loss(pair.model(between(a, moved, t)), test) for t in ts],
        "matched + repair": [loss(pair.model(pair.repaired(between(a, moved, t), a, moved, t=t)), test) for t in ts],
    }


def draw(found: dict[str, dict[str, list[float]]], path: Path) -> None:
    """A panel for each network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found), figsize=(4 * len(found), 3.2), squeeze=False)
    for panel, (name, lines) in zip(panels[0], found.items(), strict=True):
        for label, losses in lines.items():
            panel.plot([i / (len(losses) - 1) for i in range(len(losses))], losses, marker="o", markersize=3, label=label)
        panel.set(title=name, xlabel="from one network to the other", ylabel="test loss", ylim=(0, None))
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print a table for every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--draw", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    drawn = {}
    for name in options.only.split(","):
        pairs = [made(CASES[name], options.folder, name, number) for number in range(options.pairs)]
        rows = [measured(pair) for pair in pairs]
        print(f"\n{name}, {len(pairs)} pairs\n")
        for row in rows[0]:
            values = [100 * found[row] for found in rows]
            print(f"  {row:32s}{mean(values):6.1f} ± {stdev(values) if len(values) > 1 else 0:4.1f}", flush=True)
        if options.draw:
            drawn[name] = curves(pairs[0])
    if options.draw:
        draw(drawn, options.draw)


if __name__ == "__main__":
    main()
