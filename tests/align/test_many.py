"""Several networks: what each way of matching them promises."""

from itertools import combinations

import pytest
import torch

from loomweight.align import between, match_cycle_consistent, match_to_mean, match_to_reference, weight_matching
from loomweight.edits import Permute
from loomweight.errors import BadParameter, NamesDiffer
from loomweight.weights import Weights
from loomweight.weights.axes import random_orders, then

from .networks import table, weights

WAYS = {"reference": match_to_reference, "mean": match_to_mean, "cycle": match_cycle_consistent}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def same(first: Weights, second: Weights) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def together(sets: list[Weights]) -> float:
    """The sum over pairs of inner products, running statistics and integers left out."""
    kept = [name for name in sets[0].physical if sets[0].spec[name].averages and "running" not in name]
    return sum(float((a[name].double() * b[name].double()).sum()) for a, b in combinations(sets, 2) for name in kept)


def moved(edits: tuple[Permute, ...], sets: list[Weights]) -> list[Weights]:
    return [edit(each) for edit, each in zip(edits, sets, strict=True)]


@every_way
@pytest.mark.parametrize("name", ["mlp", "residual", "gru", "encoder"])
def test_shuffled_copies_become_one(way: object, name: str) -> None:
    base = weights(name)
    copies = [Permute.by(table(name), random_orders(table(name), seed))(base) for seed in range(3)]
    aligned = moved(way(table(name), copies), copies)  # type: ignore[operator]
    assert same(aligned[0], aligned[1]) and same(aligned[0], aligned[2])


@every_way
@pytest.mark.parametrize("name", ["mlp", "residual", "encoder"])
def test_the_inner_products_of_networks_made_apart_rise(way: object, name: str) -> None:
    sets = [weights(name, seed) for seed in (1, 2, 3)]
    assert together(moved(way(table(name), sets), sets)) > together(sets)  # type: ignore[operator]


@every_way
def test_with_themselves_nothing_moves(way: object) -> None:
    edits = way(table("mlp"), [weights("mlp")] * 3)  # type: ignore[operator]
    assert all(same(edit(weights("mlp")), weights("mlp")) for edit in edits)


def test_to_the_reference_is_weight_matching_of_each() -> None:
    sets = [weights("mlp", seed) for seed in (1, 2, 3)]
    edits = match_to_reference(table("mlp"), sets, 1)
    assert not edits[1].orders
    assert same(edits[2](sets[2]), weight_matching(table("mlp"), sets[2], sets[1])(sets[2]))


def test_the_mean_is_where_no_single_network_gains() -> None:
    sets = [weights("mlp", seed) for seed in (1, 2, 3)]
    aligned = moved(match_to_mean(table("mlp"), sets), sets)
    for at, each in enumerate(aligned):
        rest = [other for place, other in enumerate(aligned) if place != at]
        mean = Weights.of({name: sum(other[name] for other in rest) / len(rest) for name in each})  # type: ignore[misc]
        for space in table("mlp").spaces:
            assert not weight_matching(table("mlp"), each, mean, spaces=[space]).orders


def test_maps_of_pairs_close_every_cycle() -> None:
    sets = [weights("llama", seed) for seed in (1, 2, 3)]
    found = table("llama")
    edits = match_cycle_consistent(found, sets)
    assert not edits[0].orders
    around = then(found, dict(between(found, edits[0], edits[1]).orders), dict(between(found, edits[1], edits[2]).orders))
    assert same(Permute.by(found, around)(sets[0]), between(found, edits[0], edits[2])(sets[0]))
    assert same(between(found, edits[1], edits[2])(between(found, edits[2], edits[1])(sets[2])), sets[2])


def test_in_one_frame_all_pairs_are_closer_than_by_a_reference() -> None:
    sets = [weights("mlp", seed) for seed in range(4)]
    by_one = together(moved(match_to_reference(table("mlp"), sets), sets))
    assert together(moved(match_cycle_consistent(table("mlp"), sets), sets)) >= by_one


def test_bad_input() -> None:
    with pytest.raises(BadParameter, match="found 1"):
        match_to_mean(table("mlp"), [weights("mlp")])
    with pytest.raises(BadParameter, match="one of 2 sets, found 5"):
        match_to_reference(table("mlp"), [weights("mlp")] * 2, 5)
    with pytest.raises(NamesDiffer):
        match_cycle_consistent(table("mlp"), [weights("mlp"), weights("gru")])
