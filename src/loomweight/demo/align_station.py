"""Two networks trained apart: averaged as they are, then in one order of units, then with their units' spread repaired."""

from collections.abc import Iterator

import torch

from .. import align
from ..rules import Mean, combine
from ..weights.axes import axes
from .models import Row, Zoo, network


def align_station(zoo: Zoo) -> list[Row]:
    """The rows of two strangers, and of all of them brought together."""
    return list(_rows(zoo))


def _rows(zoo: Zoo) -> Iterator[Row]:
    first, second = zoo.strangers[:2]
    table = axes(network(), torch.zeros(1, 64))
    yield zoo.row("two strangers averaged", combine([first, second], Mean()), "unit 1 of one is no relative of unit 1 of the other")
    moved = align.weight_matching(table, second, first)(second)
    average = combine([first, moved], Mean())
    yield zoo.row("two strangers, aligned", average, "the second one's units in the first one's order, then the mean")
    repaired = align.repair(table, align.loaded(network(), average), [first, moved], [zoo.validation])
    yield zoo.row("two strangers, aligned, repaired", repaired, "and each unit given the spread that it had")
    together = [edit(weights) for edit, weights in zip(align.match_to_mean(table, zoo.strangers), zoo.strangers, strict=True)]
    yield zoo.row(f"all {len(together)} strangers, aligned", combine(together, Mean()), "each to the mean of the others, until none moves")
