"""Few-shot supernets: where options of a field pull shared weights apart, each part of them gets weights of its own.

Paper: Generalizing Few-Shot NAS with Gradient Matching (2022, https://arxiv.org/abs/2203.15207), algorithm 1.

Sub-supernets are copies inside one elastic model: which one a configuration uses follows from the configuration, so that samplers,
steps, the optimizer, searches and export need not know of the split. We compare gradients on the entries that two options both use,
since our options are slices of one tensor. The authors' score of an edge is the sum of distances between the two parts; ours is
their mean, since our fields differ in how many options they have (with equal numbers of options and equal parts it is the same order).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...errors import BadParameter
from ...search import Space
from ..beside import refresh
from ..copies import Copies
from ..elastic import Elastic, Values
from ..narrow import narrowed
from ..step import Loss
from .conflict import Matching, conflicts


class Regions:
    """An elastic model whose configurations are split into regions; each has a copy of all weights that are not shared.

    Part of: few_shot.

    Args:
        net: changed in place; optimizers have to be made anew after each split.
        shared: patterns of names that stay shared by all regions.

    >>> import torch
    >>> from loomweight.supernet import elastic
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> split = Regions(elastic(model, "width 0 : 2 4 8", torch.zeros(1, 4)))
    >>> split.split(0, "width 0", [2])
    1
    >>> split.region({"width 0": 2}), split.region({"width 0": 8}), [space.count() for space in split.spaces]
    (1, 0, [2, 1])
    """

    def __init__(self, net: Elastic, shared: Sequence[str] = ()) -> None:
        self.net = net
        self.regions: list[dict[str, tuple[Any, ...]]] = [{}]
        self.copies = Copies(net, self.region, 1, shared)

    @property
    def spaces(self) -> list[Space]:
        """The space of each region: draw from it to train one sub-supernet alone."""
        return [narrowed(self.net.space, options) for options in self.regions]

    def region(self, values: Values) -> int:
        """The number of the region that holds a configuration."""
        return next(i for i, options in enumerate(self.regions) if all(values[field] in some for field, some in options.items()))

    def split(self, region: int, field: str, options: Sequence[Any]) -> int:
        """Move some options of a field into a region of their own, which starts with a copy of the weights; its number.

        Raises:
            UnknownName, BadParameter: no such field, or the options are not a part of the region's.
        """
        there = tuple(narrowed(self.spaces[region], {field: options}).dimensions[field].every())
        rest = tuple(option for option in self.spaces[region].dimensions[field].every() if option not in there)
        if not rest:
            raise BadParameter(f"all options of {field!r} would move; leave one at least.")
        before, number = self.regions[region], self.copies.add(region)
        self.regions.append(before | {field: there})
        self.regions[region] = before | {field: rest}
        refresh(self.net)
        return number

    @staticmethod
    def resumed(net: Elastic, state: Mapping[str, Any], shared: Sequence[str] = ()) -> "Regions":
        """The split of another run on a fresh elastic model of the same space; load the net's weights after it."""
        made = Regions(net, shared)
        for options in state["regions"][1:]:
            made.copies.add(0)
            made.regions.append({field: tuple(some) for field, some in options.items()})
        made.regions[0] = {field: tuple(some) for field, some in state["regions"][0].items()}
        refresh(net)
        return made

    def state_dict(self) -> dict[str, Any]:
        """The regions as plain data; the weights are in the state of the net."""
        return {"regions": [{field: list(some) for field, some in options.items()} for options in self.regions]}


def few_shot(
    net: Elastic,
    batches: Iterable[Any],
    loss: Loss,
    levels: int = 2,
    *,
    train: Callable[[Regions, int], None] | None = None,
    matching: Matching | None = None,
    shared: Sequence[str] = (),
) -> Regions:
    """Split a supernet level by level, every sub-supernet on the field whose options conflict most on its own weights.

    Args:
        net: changed in place.
        batches: (inputs, targets) to take gradients on.
        loss: (outputs, targets) -> mean loss.
        levels: each doubles the number of sub-supernets, as far as fields with two options are left.
        train: called with the split so far and the number of a region before that region is split: sub-supernets are trained by
            themselves in between, `net.select(split.spaces[region].sample(seed))`.
        matching: how gradients are compared.
        shared: patterns of names that stay shared.

    Raises:
        BadParameter: `levels` is below 1, or no batch is given.
    """
    if levels < 1:
        raise BadParameter(f"levels must be at least 1, found {levels}.")
    kept, made = list(batches), Regions(net, shared)
    for _ in range(levels):
        for region in range(len(made.regions)):
            if train is not None:
                train(made, region)
            found = conflicts(net, kept, loss, matching, made.spaces[region])
            if found and found[0].score > 0:
                made.split(region, found[0].field, found[0].groups[1])
    return made
