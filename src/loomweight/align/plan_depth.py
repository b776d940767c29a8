"""Where every tensor of the reference's depth comes from, in a network of another depth."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import BadParameter, NamesDiffer, ShapesDiffer
from ..weights import Weights
from ..weights.axes.table import Axes, Axis, Layout
from ..weights.names import difference
from .balance import Balance, Copy, Filled, Identity, Merged, Source, identity_sources
from .layer_match import LayerEvidence, by_position, monotone
from .stages import Layer, Stage, kind, made, stages, tensors, translated


@dataclass
class Depth:
    """The plan: a source for every tensor of the reference, and the sizes that the balanced network has.

    Args:
        moving: the table of the network that gets another depth.
        weights: its weights.
        reference: the table of the network whose depth it gets.
        target: its weights.
    """

    moving: Axes
    weights: Weights
    reference: Axes
    target: Weights
    sources: dict[str, Source] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    #: tensors of added residual blocks: they say nothing of units
    added: set[str] = field(default_factory=set)
    #: those of them that are the reference's own
    kept: set[str] = field(default_factory=set)

    def match(self, layers: Sequence[str | Stage] | None, evidence: LayerEvidence | None) -> None:
        """A source for every tensor; stage by stage, and what lies outside of them by name."""
        found = stages(self.moving, self.reference, layers)
        if evidence is not None and len(evidence.costs) != len(found):
            raise BadParameter(f"the evidence speaks of {len(evidence.costs)} runs of layers, but there are {len(found)}; collect it with the same layers.")
        inside = [
            {name for stage in found for layer in stage[side] for name in tensors(axes, layer)} for side, axes in enumerate((self.moving, self.reference))
        ]
        outside = [[name for name in axes.layouts if name not in names] for axes, names in zip((self.moving, self.reference), inside, strict=True)]
        if lacking := difference(outside[0], outside[1]):
            raise NamesDiffer(f"outside of the layers that differ the two networks hold different tensors: {lacking}; they are of no one family.")
        pairs = [self._pairs(number, *stage, evidence) for number, stage in enumerate(found)]
        for name in outside[1]:
            self._copy(name, name)
        for (here, there), matched in zip(found, pairs, strict=True):
            if len(here) <= len(there):
                self._add(here, there, matched)
            else:
                self._merge(here, there, matched, evidence)

    def balance(self) -> Balance:
        """The edit, with the table of the balanced network."""
        spaces = {name: replace(space, size=self.sizes.get(name, space.size)) for name, space in self.reference.spaces.items()}
        axes = Axes(spaces, self.reference.layouts, f"{self.moving.how}, in another depth")
        for name, source in self.sources.items():
            if isinstance(source, Copy) and axes.expected(name) != self.weights.spec[source.name].shape:
                raise self._unlike(source.name, name)
        ties = tuple((alias, owner) for alias, owner in self.target.ties.items() if self.weights.ties.get(alias) == owner)
        return Balance(axes, tuple((name, self.sources[name]) for name in self.target.names), ties)

    def _pairs(self, number: int, here: list[Layer], there: list[Layer], evidence: LayerEvidence | None) -> list[tuple[int, int]]:
        """(layer of the moving network, layer of the reference), in order."""
        cost = by_position(len(here), len(there)) if evidence is None else evidence.costs[number].double().clone()
        if cost.shape != (len(here), len(there)):
            raise BadParameter(f"the evidence has costs of shape {tuple(cost.shape)} for {len(here)} and {len(there)} layers; collect it with the same layers.")
        kinds = [[kind(axes, layer) for layer in stage] for axes, stage in ((self.moving, here), (self.reference, there))]
        cost[torch.tensor([[a != b for b in kinds[1]] for a in kinds[0]])] = torch.inf
        if len(here) <= len(there):
            return list(enumerate(self._monotone(cost, here, there)))
        cost[:-1, -1] = torch.inf  # what consumes the last layer's units is not in the stage: the last layer stays the last
        return [(a, b) for b, a in enumerate(self._monotone(cost.T, here, there))]

    def _monotone(self, cost: Tensor, here: list[Layer], there: list[Layer]) -> list[int]:
        try:
            return monotone(cost)
        except BadParameter as error:
            places = f"{here[0][0]!r} to {here[-1][0]!r} of the moving network and {there[0][0]!r} to {there[-1][0]!r} of the reference"
            raise BadParameter(f"layers {places} do not correspond: {error} Kinds are told by tensor names and axes; give the stages by hand.") from error

    def _add(self, here: list[Layer], there: list[Layer], matched: list[tuple[int, int]]) -> None:
        partner = {b: a for a, b in matched}
        for b, layer in enumerate(there):
            if b in partner:
                for name in tensors(self.reference, layer):
                    self._copy(translated(name, layer, here[partner[b]]), name)
            elif made(self.reference, layer)[1]:
                self._add_block(layer)
            else:
                self._add_identity(layer)

    def _add_identity(self, layer: Layer) -> None:
        names = tensors(self.reference, layer)
        self.sources |= identity_sources(self.reference, names)
        (matrix,) = [name for name in names if isinstance(self.sources[name], Identity)]
        layout = self.reference.layouts[matrix]
        ((consumed,),), ((new,),) = layout.axes[layout.consumed or 0], layout.axes[1 - (layout.consumed or 0)]
        self.sizes[str(new)] = self.sizes.get(str(consumed), self.reference.spaces[str(consumed)].size)

    def _add_block(self, layer: Layer) -> None:
        """A residual block that adds 0: what it writes into the stream, and biases and means there, are 0; the rest is the reference's."""
        _, shared = made(self.reference, layer)
        for name in tensors(self.reference, layer):
            layout, word = self.reference.layouts[name], name.rpartition(".")[2]
            touches = any(factor in shared for place, axis in enumerate(layout.axes) if place != layout.consumed for term in axis for factor in term)
            writes = touches and (layout.consumed is not None or word in ("bias", "running_mean"))
            self.sources[name] = Filled(0 if writes or layout.consumed is not None or not word.startswith(("weight", "running_var")) else 1)
            self.added.add(name)
            if not writes:
                self.kept.add(name)

    def _merge(self, here: list[Layer], there: list[Layer], matched: list[tuple[int, int]], evidence: LayerEvidence | None) -> None:
        """Layers of the moving network between two that are matched go into the later one."""
        begin = 0
        for a, b in matched:
            for name in tensors(self.reference, there[b]):
                old = [translated(name, there[b], layer) for layer in here[begin : a + 1]]
                if begin == a:
                    self._copy(old[-1], name)
                else:
                    self._merge_into(name, old, here[begin : a + 1], evidence)
            begin = a + 1

    def _merge_into(self, name: str, old: list[str], layers: list[Layer], evidence: LayerEvidence | None) -> None:
        word = name.rpartition(".")[2]
        weights = [f"{one.rpartition('.')[0]}.weight" for one in old]
        layouts = [self.moving.layouts.get(weight) for weight in weights]
        if word not in ("weight", "bias") or any(layout is None or len(layout.axes) != 2 or layout.consumed is None for layout in layouts):
            raise BadParameter(
                f"layer {layers[0][0]!r} would be merged into {layers[-1][0]!r}, which only plain linear layers can be; map the shallower network."
            )
        if evidence is None:
            raise BadParameter(
                f"layer {layers[0][0]!r} has to be merged into {layers[-1][0]!r}, which needs evidence from data:"
                " give a model and data (evidence=layer_evidence(...))."
            )
        consumed = layouts[-1].consumed or 0  # type: ignore[union-attr]
        biases = [bias if (bias := f"{one.rpartition('.')[0]}.bias") in self.moving.layouts else "" for one in old]
        active = [*(evidence.active[layer[-1]] for layer in layers[:-1]), None]
        self.sources[name] = Merged(tuple(zip(weights, biases, active, strict=True)), consumed, word == "bias")
        if word == "bias":
            self._claim(old[-1], name, self.moving.layouts[old[-1]])
        else:
            axes = list(self.moving.layouts[weights[-1]].axes)
            axes[consumed] = self.moving.layouts[weights[0]].axes[consumed]
            self._claim(weights[-1], name, Layout(tuple(axes), consumed))

    def _copy(self, old: str, name: str) -> None:
        self.sources[name] = Copy(old)
        self._claim(old, name, self.moving.layouts[old])

    def _claim(self, old: str, name: str, layout: Layout) -> None:
        """The sizes that a tensor gives to the spaces of the reference's table."""
        wanted = self.reference.layouts[name]
        if len(wanted.axes) != len(layout.axes):
            raise self._unlike(old, name)
        for axis, other in zip(layout.axes, wanted.axes, strict=True):
            self._claim_axis(old, name, axis, other)

    def _claim_axis(self, old: str, name: str, axis: Axis, other: Axis) -> None:
        if [len(term) for term in axis] != [len(term) for term in other]:
            raise self._unlike(old, name)
        for ours, theirs in zip((f for term in axis for f in term), (f for term in other for f in term), strict=True):
            size = ours if isinstance(ours, int) else self.moving.spaces[ours].size
            if isinstance(ours, int) != isinstance(theirs, int) or (isinstance(theirs, int) and size != theirs):
                raise self._unlike(old, name)
            if isinstance(theirs, str) and self.sizes.setdefault(theirs, size) != size:
                raise ShapesDiffer(f"tensor {old!r} has {size} units where {name!r} of the reference meets {self.sizes[theirs]} of space {theirs!r}.")

    def _unlike(self, old: str, name: str) -> ShapesDiffer:
        return ShapesDiffer(
            f"tensor {old!r}, {self.moving.layouts[old].axes}, cannot stand for {name!r} of the reference, {self.reference.layouts[name].axes};"
            " match other layers, by stages or costs."
        )
