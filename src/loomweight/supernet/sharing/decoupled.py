"""Adapters of their own for each bit width: what is trained for 2 bits does not disturb what is used in 4.

Papers: One QuantLLM for ALL: Fine-tuning Quantized LLMs Once for Efficient Deployments (2024, https://arxiv.org/abs/2405.20202),
section 3.2; Low-Rank Adapters Meet Neural Architecture Search for LLM Compression (2025, https://arxiv.org/abs/2501.16372),
section 2.2, for adapters that are merged into pruned and rounded weights.

We differ: weights are rounded to the nearest level, with a step for each output unit, where the authors start from GPTQ. A rounded weight
follows from the frozen one and its number of bits, so that it needs no copy of its own; adapters are what is kept apart.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...derive import Quantised
from ...derive.derive import derived_of
from ...derive.quantised import UNROUNDED, rounded, steps
from ...errors import BadParameter, UnknownName
from ...weights.names import listed
from ..beside import adopt
from ..copies import unshared
from ..draft import named_by
from ..elastic import Elastic
from ..parts import Cut, Layout, Part
from ..slots import Change, Entry
from ..stored import Assembled, Stored, parameters_of


@dataclass(frozen=True)
class Adapters:
    """What stands beside each rounded weight.

    Part of: decoupled_adapters.

    Args:
        rank: directions of each adapter.
        scale: factor of the sum.
        sparse: the sum is taken only where the weight is not zero, so that a pruned weight stays pruned.
        merged: the sum is rounded like the weight, with the weight's steps, so that the exported weight has no more levels than it.
        seed: of the first values.
    """

    rank: int = 8
    scale: float = 1.0
    sparse: bool = False
    merged: bool = False
    seed: int = 0


def decoupled_adapters(net: Elastic, adapters: Adapters | None = None, where: Sequence[str] = ("*",)) -> list[str]:
    """Freeze the weights whose bits vary, and train an adapter of its own for each layer and number of bits.

    used = round(weight, bits) + scale up_bits down_bits, where up is zero at first. All other parameters stay as they are.

    Args:
        net: has `bits` lines; changed in place; optimizers have to be made anew.
        adapters: their rank, scale, and what of the weight they keep; None for the defaults.
        where: patterns of names of layers (or of what they lie in), of those with bits and a matrix.

    Returns:
        The names of the layers.

    Raises:
        UnknownName: a pattern names no such layer.
        BadParameter: the rank is below 1, or a weight has copies.

    >>> from loomweight.supernet import elastic
    >>> net = elastic(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "bits 0 : 2 4", torch.zeros(1, 4))
    >>> decoupled_adapters(net, Adapters(rank=2))
    ['0']
    >>> [name for name in net.state_dict() if name.startswith("adapters")]
    ['adapters.2.0.weight.up', 'adapters.2.0.weight.down', 'adapters.4.0.weight.up', 'adapters.4.0.weight.down']
    """
    how = adapters or Adapters()
    if how.rank < 1:
        raise BadParameter(f"an adapter has a rank of at least 1, found {how.rank}.")
    with net.selected(net.max()):
        layers = _layers(net, where)
        unshared(net, [f"{name}.weight" for name in layers])
        new: tuple[dict[str, Stored], list[Change], list[Entry]] = ({}, [], [])
        for number, (name, layer) in enumerate(layers.items()):
            _adapt(net, f"{name}.weight", layer, replace(how, seed=how.seed + number), new)
    adopt(net, new[0], new[1], without=new[2])
    return list(layers)


class Adapted(Quantised):
    """A rounded weight with the sum that stands beside it."""

    def __init__(self, before: Quantised, up: Assembled, down: Assembled, adapters: Adapters) -> None:
        super().__init__(before.how, before.bits, before.axis)
        self.up, self.down, self.adapters = up, down, adapters

    def forward(self) -> Tensor:
        """The shape of the weight."""
        weight = self.how if isinstance(self.how, nn.Parameter) else self.how.forward()
        beside = self.adapters.scale * (self.up.forward() @ self.down.forward())
        if self.adapters.sparse:
            beside = beside * (weight != 0)
        if self.bits == UNROUNDED:
            return weight + beside
        if self.adapters.merged:
            return rounded(weight + beside, self.bits, self.axis, steps(weight, self.bits, self.axis))
        return rounded(weight, self.bits, self.axis) + beside


def _layers(net: Elastic, where: Sequence[str]) -> dict[str, nn.Module]:
    found = {name: module for name, module in net.model.named_modules() if type(derived_of(module)._modules.get("weight")) is Quantised}
    matrices = {name: module for name, module in found.items() if module.weight.ndim == 2}  # type: ignore[union-attr]
    if missing := [pattern for pattern in where if not any(named_by(name, pattern) for name in matrices)]:
        there = listed(list(matrices)) if matrices else "none"
        raise UnknownName(f"{missing[0]!r} names no layer with a matrix whose bits vary and that has no adapter yet; there are: {there}.")
    return {name: module for name, module in matrices.items() if any(named_by(name, pattern) for pattern in where)}


def _adapt(net: Elastic, name: str, layer: nn.Module, adapters: Adapters, new: tuple[dict[str, Stored], list[Change], list[Entry]]) -> None:
    stored, changes, gone = new
    one, before = net.stored()[name], derived_of(layer)["weight"]
    assert isinstance(before, Quantised) and one.layout is not None
    (bits,) = (change for slot in net._made.slots for change in slot.changes if change.module is before)
    (field,) = bits.fields
    one.tensor.requires_grad_(False)
    one.forget()
    sides = {"up": _side(one.layout, adapters.rank, 0), "down": _side(one.layout, adapters.rank, 1)}
    mine = {
        key: {value: Stored(f"adapters.{value}.{name}.{key}", _first(one.tensor, key, adapters), layout) for value in _options(net, field)}
        for key, layout in sides.items()
    }
    hows = {key: Assembled(mine[key][max(mine[key])].tensor, layout) for key, layout in sides.items()}  # type: ignore[arg-type]
    adapted = Adapted(before, hows["up"], hows["down"], adapters)
    derived_of(layer)["weight"] = adapted
    gone.append(bits.entry)
    changes.append(replace(bits, module=adapted))
    for key, layout in sides.items():
        changes += _slices(hows[key], mine[key], layout, field)
    for value in _options(net, field):
        stored |= {each[value].name: each[value] for each in mine.values()}


def _stored(name: str, weight: Tensor, layout: Layout, adapters: Adapters, options: Sequence[int]) -> dict[int, Stored]:
    """One side of the adapter of each number of bits."""
    return {bits: Stored(f"adapters.{bits}.{name}", _first(weight, name.rpartition(".")[2], adapters), layout) for bits in options}


def _options(net: Elastic, field: str) -> list[int]:
    return list(net.space.dimensions[field].every())


def _first(weight: Tensor, key: str, adapters: Adapters) -> nn.Parameter:
    """up = 0; down normal, standard deviation 1 / sqrt(in)."""
    out, into = weight.shape
    if key == "up":
        return nn.Parameter(weight.new_zeros(out, adapters.rank))
    draw = torch.randn(adapters.rank, into, generator=torch.Generator().manual_seed(adapters.seed)) / into**0.5
    return nn.Parameter(draw.to(weight))


def _side(layout: Layout, rank: int, axis: int) -> Layout:
    """How one factor is cut: along one axis as the weight is, along the other not at all."""
    rows, columns = layout.counts
    lines = layout.parts[::columns] if axis == 0 else layout.parts[:columns]
    whole, cut = (0, rank), (Cut(rank),)
    made = [(part.block[axis], part.cuts[axis]) for part in lines]
    if axis == 0:
        return Layout(tuple(Part((block, whole), (cuts, cut)) for block, cuts in made), (rows, 1))
    return Layout(tuple(Part((whole, block), (cut, cuts)) for block, cuts in made), (1, columns))


def _slices(how: Assembled, mine: dict[int, Stored], layout: Layout, field: str) -> Iterator[Change]:
    count = len(layout.parts)

    def entry(key: str) -> Callable[[Any], Any]:
        return lambda values: parameters_of(mine[values[field]].pieces(values), count)[key]

    for key in ("stored", *(f"part_{i}" for i in range(count))):
        yield Change(how, "_parameters", key, (*layout.fields, field), entry(key))
