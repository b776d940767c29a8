"""Networks of different width or depth, trained apart and fused: the wider into the narrower, the deeper into the shallower, and the other way.

    python bench/apart_sizes.py FOLDER [--only digits-mlp-width,...] [--pairs 5]

FOLDER keeps the networks; those that are missing are trained. "A into B" carries A into the shapes and coordinates of B and averages the
two there: one of twice the width of `bench/apart.py` with one of half, by `ot_fusion`; one with more layers than the other, by `cla_fusion`.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from apart import Coordinates, Rows, counted_as, inputs_of, show
from apart_models import digits, fashion, mlp, scores, staged, vgg
from apart_train import Case, network
from torch import nn

from loomweight.align import Network, activation_costs, cla_fusion, layer_evidence, ot_fusion
from loomweight.edits import Edit
from loomweight.weights import Weights, from_module
from loomweight.weights.axes import axes


@dataclass(frozen=True)
class Side:
    """A kind of network and its short name."""

    name: str
    case: Case


@dataclass
class Apart:
    """Two networks trained from different seeds, of different sizes; the first is brought to the second."""

    moving: Side
    reference: Side
    models: tuple[nn.Module, nn.Module]

    @cached_property
    def place(self) -> Coordinates:
        """Where both end."""
        inputs = inputs_of(self.reference.case)
        return Coordinates(self.reference.case, axes(self.models[1], inputs[0][:2]), inputs)

    @cached_property
    def networks(self) -> tuple[Network, Network]:
        """With their tables."""
        return Network(axes(self.models[0], self.place.inputs[0][:2]), self.models[0]), Network(self.place.table, self.models[1])

    @property
    def weights(self) -> tuple[Weights, Weights]:
        """Of both."""
        return from_module(self.models[0]), from_module(self.models[1])


def by_width(pair: Apart) -> dict[str, Callable[[], Edit]]:
    """Row -> what carries the first into the width of the second."""
    (moving, reference), (a, b) = pair.networks, pair.weights
    return {
        "OT, weights": lambda: ot_fusion(moving.axes, a, reference.axes, b),
        "OT, activations": lambda: ot_fusion(moving.axes, a, reference.axes, b, costs=activation_costs(moving, reference, pair.place.inputs)),
    }


def by_depth(pair: Apart) -> dict[str, Callable[[], Edit]]:
    """Row -> what carries the first into the depth of the second; layers are matched by place, or by CKA of their activations."""
    (moving, reference), (a, b) = pair.networks, pair.weights

    def seen() -> Edit:
        return cla_fusion(moving.axes, a, reference.axes, b, evidence=layer_evidence(moving, reference, pair.place.inputs))

    shallower = len(list(moving.model.modules())) < len(list(reference.model.modules()))
    by_place = {"layers by place": lambda: cla_fusion(moving.axes, a, reference.axes, b)}
    return {**(by_place if shallower else {}), "layers by activations": seen}


def measured(pair: Apart, edits: Callable[[Apart], dict[str, Callable[[], Edit]]]) -> Rows:
    """The parents; then of each way the first one alone in the shape of the second, the average, and after repair."""
    a, b = pair.weights
    found = {side.name: scores(model, side.case.data()[1]) for side, model in zip((pair.moving, pair.reference), pair.models, strict=True)}
    for row, edit in edits(pair).items():
        carried = counted_as(b, edit()(a))
        found[f"{row}: carried alone"] = pair.place.scores(carried)
        found |= pair.place.fused(f"{row}: average", b, carried)
    return found


def sides(data: Callable, epochs: int, **made: Callable[[], nn.Module]) -> tuple[Side, Side]:
    """Two kinds of network on one data set."""
    first, second = (Side(name.replace("_", " "), Case(data, make, epochs)) for name, make in made.items())
    return first, second


WIDTHS = {
    "digits-mlp-width": sides(digits, 20, width_256=partial(mlp, 8, 256), width_64=partial(mlp, 8, 64)),
    "digits-vgg-width": sides(digits, 15, width_32=partial(vgg, 8, 32), width_8=partial(vgg, 8, 8)),
    "fashion-mlp-width": sides(fashion, 8, width_512=partial(mlp, 14, 512), width_128=partial(mlp, 14, 128)),
    "fashion-vgg-width": sides(fashion, 4, width_32=partial(vgg, 14, 32), width_8=partial(vgg, 14, 8)),
}
DEPTHS = {
    "digits-mlp-depth": sides(digits, 20, depth_4=partial(mlp, 8, 128, 4), depth_2=partial(mlp, 8, 128, 2)),
    "digits-vgg-depth": sides(digits, 15, depth_6=partial(staged, (2, 2, 2)), depth_4=partial(staged, (1, 1, 2))),
    "fashion-mlp-depth": sides(fashion, 8, depth_4=partial(mlp, 14, 256, 4), depth_2=partial(mlp, 14, 256, 2)),
    "fashion-vgg-depth": sides(fashion, 4, depth_6=partial(staged, (2, 2, 2)), depth_4=partial(staged, (1, 1, 2))),
}


def pairs(folder: Path, name: str, count: int) -> list[tuple[Apart, Apart]]:
    """Larger into smaller and smaller into larger; the larger has odd seeds, the smaller even ones."""
    large, small = {**WIDTHS, **DEPTHS}[name]
    found = []
    for number in range(count):
        kept = [f"{name.rpartition('-')[0]}-{side.name.replace(' ', '-')}" for side in (large, small)]
        models = [network(folder, kept[0], 2 * number + 1, large.case), network(folder, kept[1], 2 * number, small.case)]
        found.append((Apart(large, small, (models[0], models[1])), Apart(small, large, (models[1], models[0]))))
    return found


def main() -> None:
    """A table for every case and direction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join([*WIDTHS, *DEPTHS]))
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        found = pairs(options.folder, name, options.pairs)
        for direction in range(2):
            every = [pair[direction] for pair in found]
            if name.endswith("vgg-depth") and direction == 0:
                continue  # only linear layers can be merged
            title = f"{name}, {every[0].moving.name} into {every[0].reference.name}"
            show(title, [measured(pair, by_width if name in WIDTHS else by_depth) for pair in every])


if __name__ == "__main__":
    main()
