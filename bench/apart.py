"""Networks trained apart, averaged: as they are, after alignment, after repair.

    python bench/apart.py FOLDER [--only digits-vgg,...] [--pairs 5] [--draw barrier.png]

FOLDER keeps the networks (bench/apart_train.py trains those that are missing). Test accuracy in per cent and test loss, mean and spread over pairs.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from apart_models import Scores, batches, scores
from apart_train import CASES, Case, network
from torch import Tensor, nn

from loomweight.align import (
    Network,
    Training,
    activation_costs,
    activation_matching,
    loaded,
    ot_fusion,
    pleas,
    renew_batch_norm,
    repair,
    straight_through,
    weight_matching,
)
from loomweight.align.features import Fit
from loomweight.evaluate import between
from loomweight.weights import Weights, from_module
from loomweight.weights.axes import Axes, axes

#: row -> what the network of this row is worth
Rows = dict[str, Scores]


@dataclass
class Coordinates:
    """Those of a network: its shapes, its table, and inputs to measure activations on."""

    case: Case
    table: Axes
    inputs: list[Tensor]

    def model(self, weights: Weights) -> nn.Module:
        """A network with these weights."""
        return loaded(self.case.make().eval(), weights)

    def scores(self, weights: Weights) -> Scores:
        """Of a network with these weights, on the test data."""
        return scores(self.model(weights), self.case.data()[1])

    def repaired(self, weights: Weights, *parents: Weights, t: float = 0.5) -> Weights:
        """With the parents' statistics."""
        return repair(self.table, self.model(weights), parents, self.inputs, shares=[1 - t, t])

    def fused(self, row: str, first: Weights, moved: Weights, *, mend: bool = True) -> Rows:
        """The average of two networks, and after repair."""
        middle = between(first, moved, 0.5)
        found = {row: self.scores(middle)}
        return found | {f"{row} + repair": self.scores(self.repaired(middle, first, moved))} if mend else found


@dataclass
class Pair(Coordinates):
    """Two networks trained apart, and what is needed to align them."""

    models: tuple[nn.Module, nn.Module]

    @property
    def weights(self) -> tuple[Weights, Weights]:
        """Of both."""
        first, second = (from_module(model) for model in self.models)
        return first, counted_as(first, second)


def counted_as(first: Weights, second: Weights) -> Weights:
    """The second set with the first one's counters of BatchNorm, which no average uses."""
    return Weights.of({name: tensor if tensor.is_floating_point() else first[name] for name, tensor in second.items()})


def inputs_of(case: Case) -> list[Tensor]:
    """2000 training inputs, or all there are."""
    images, labels = case.data()[0]
    return [part for part, _ in batches((images[:2000], labels[:2000]), 200)]


def made(case: Case, folder: Path, name: str, number: int) -> Pair:
    """The pair of seeds 2n and 2n + 1."""
    models = (network(folder, name, 2 * number), network(folder, name, 2 * number + 1))
    inputs = inputs_of(case)
    return Pair(case, axes(models[0], inputs[0][:2]), inputs, models)


def aligners(pair: Pair) -> dict[str, Callable[[Weights, Weights], Weights]]:
    """What brings the second network into the coordinates of the first."""
    first, second = pair.models
    table = pair.table

    def transported(a: Weights, b: Weights) -> Weights:
        costs = activation_costs(Network(table, second), Network(table, first), pair.inputs)
        return ot_fusion(table, b, table, a, costs=costs)(b)

    def straight(a: Weights, b: Weights) -> Weights:
        loader = list(batches(pair.case.data()[0], 128, seed=0))
        return straight_through(table, b, a, first, loader, loss=characters, training=Training(rate=0.5))(b)

    found = {
        "as they are": lambda a, b: b,
        "OT, weights": lambda a, b: ot_fusion(table, b, table, a)(b),
        "OT, activations": transported,
        "weight matching": lambda a, b: weight_matching(table, b, a)(b),
        "activation matching": lambda a, b: activation_matching(table, second, first, pair.inputs)(b),
    }
    return {**found, "straight through": straight} if is_transformer(first) else found


def characters(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross entropy of scores (batch, classes, places)."""
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def is_transformer(model: nn.Module) -> bool:
    """Whether there is a transformer in a network; its units are not repaired."""
    return any(isinstance(module, nn.TransformerEncoder) for module in model.modules())


def averaged(found: Iterable[Scores]) -> Scores:
    """Means of both scores."""
    return Scores(*(mean(values) for values in zip(*found, strict=True)))


def measured(pair: Pair) -> Rows:
    """Each row's average of the two."""
    a, b = pair.weights
    table, (first, second) = pair.table, pair.models
    transformer = is_transformer(first)
    found = {"parents": averaged(map(pair.scores, (a, b)))}
    for name, align in aligners(pair).items():
        found |= pair.fused(name, a, align(a, b), mend=not transformer)
    match = activation_matching(table, second, first, pair.inputs)
    merged = pleas(table, b, a, match=match, fit=Fit(first, pair.inputs, progress=False))
    renewed = renew_batch_norm(pair.model(merged.weights), pair.inputs, progress=False) if has_norms(first) else merged.weights
    return found | {"PLeaS, width 1": pair.scores(renewed)}


def has_norms(model: nn.Module) -> bool:
    """Whether a network has batch normalizations."""
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def curves(pair: Pair, steps: int = 9) -> dict[str, list[float]]:
    """Test loss along the segment: as they are, matched by activations, matched and repaired."""
    (a, b), (first, second) = pair.weights, pair.models
    moved = activation_matching(pair.table, second, first, pair.inputs)(b)
    ts = [i / (steps - 1) for i in range(steps)]
    return {
        "as they are": [pair.scores(between(a, b, t)).loss for t in ts],
        "matched": [pair.scores(between(a, moved, t)).loss for t in ts],
        "matched + repair": [pair.scores(pair.repaired(between(a, moved, t), a, moved, t=t)).loss for t in ts],
    }


def draw(found: dict[str, dict[str, list[float]]], path: Path) -> None:
    """A panel for each network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found), figsize=(4 * len(found), 3.4), squeeze=False, layout="constrained")
    for panel, (name, lines) in zip(panels[0], found.items(), strict=True):
        for label, losses in lines.items():
            panel.plot([i / (len(losses) - 1) for i in range(len(losses))], losses, marker="o", markersize=3, label=label)
        panel.set(title=name, xlabel="from one network to the other", ylabel="test loss", ylim=(0, None))
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=90)


def show(title: str, pairs: Sequence[Rows]) -> None:
    """Mean and spread over pairs."""
    print(f"\n{title}, {len(pairs)} pairs{'test accuracy, %':>30s}{'test loss':>17s}\n")
    for row in pairs[0]:
        columns = [[100 * found[row].accuracy for found in pairs], [found[row].loss for found in pairs]]
        (accuracy, spread), (loss, other) = ((mean(values), stdev(values) if len(values) > 1 else 0) for values in columns)
        print(f"  {row:40s}{accuracy:6.1f} ± {spread:4.1f}{loss:10.3f} ± {other:5.3f}", flush=True)


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
        show(name, [measured(pair) for pair in pairs])
        if options.draw:
            drawn[name] = curves(pairs[0])
    if options.draw:
        draw(drawn, options.draw)


if __name__ == "__main__":
    main()
