"""Families: what lies in a unit is ordered together with it."""

from itertools import permutations, product

import numpy as np
import pytest

from loomweight.align.families import Family
from loomweight.align.nested import best_orders


def family(inside: dict[str, tuple[str, ...]], free: set[str] | None = None) -> Family:
    return Family(tuple(inside), inside, inside, frozenset(inside if free is None else free), ())


HEADS = family({"heads": (), "dims": ("heads",)})
SIDE = family({"heads": (), "a": ("heads",), "b": ("heads",)})


def random(seed: int, *sizes: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*sizes, *sizes))


def orders_of(found: dict, name: str, shape: tuple[int, ...]) -> np.ndarray:
    return found[name].numpy() if name in found else np.tile(np.arange(shape[-1]), (*shape[:-1], 1))


@pytest.mark.parametrize("seed", range(5))
def test_heads_with_dims_reach_the_best_of_all_orders(seed: int) -> None:
    both, alone = random(seed, 3, 3), random(seed + 9, 3)
    found = best_orders(HEADS, {("heads", "dims"): both, ("heads",): alone})
    heads, dims = orders_of(found, "heads", (3,)), orders_of(found, "dims", (3, 3))

    def worth(heads: tuple[int, ...], dims: tuple[tuple[int, ...], ...]) -> float:
        return sum(alone[h, heads[h]] + sum(both[h, i, heads[h], dims[h][i]] for i in range(3)) for h in range(3))

    every = list(permutations(range(3)))
    best = max(worth(order, inner) for order in every for inner in product(every, repeat=3))
    assert worth(tuple(heads), tuple(map(tuple, dims))) == pytest.approx(best, rel=1e-12)


def test_three_levels_find_a_hidden_order() -> None:
    tree = family({"kv": (), "queries": ("kv",), "dims": ("kv", "queries")})
    base = np.random.default_rng(0).normal(size=(2, 3, 4, 50))
    kv, queries = np.array([1, 0]), np.array([[2, 0, 1], [0, 2, 1]])
    dims = np.stack([np.stack([np.random.default_rng(7 * i + j).permutation(4) for j in range(3)]) for i in range(2)])
    moved = np.stack([np.stack([base[kv[i]][queries[i][j]][dims[i][j]] for j in range(3)]) for i in range(2)])
    found = best_orders(tree, {("kv", "queries", "dims"): np.einsum("abck,xyzk->abcxyz", moved, base)})
    assert {name: order.tolist() for name, order in found.items()} == {"kv": kv.tolist(), "queries": queries.tolist(), "dims": dims.tolist()}


def test_spaces_side_by_side_find_a_hidden_order() -> None:
    base, rows = np.random.default_rng(1).normal(size=(2, 3, 4, 30)), np.random.default_rng(2).normal(size=(2, 3, 30))
    heads, a, b = [1, 0], [[2, 1, 0], [1, 2, 0]], [[3, 0, 1, 2], [2, 3, 1, 0]]
    moved = np.stack([base[heads[h]][a[h]][:, b[h]] for h in range(2)])
    turned = np.stack([rows[heads[h]][a[h]] for h in range(2)])
    gains = {("heads", "a", "b"): np.einsum("habk,gxyk->habgxy", moved, base), ("heads", "a"): np.einsum("hak,gxk->hagx", turned, rows)}
    found = best_orders(SIDE, gains)
    assert {name: order.tolist() for name, order in found.items()} == {"heads": heads, "a": a, "b": b}


def test_spaces_side_by_side_leave_a_place_where_neither_moves_alone() -> None:
    """Staying gains 4, exchanging both 8, exchanging one 0; a little of `a`'s own says that it moves."""
    moves = np.not_equal.outer(np.arange(2), np.arange(2)).astype(float)
    both = 2 * np.einsum("ax,by->abxy", moves, moves) + np.einsum("ax,by->abxy", 1 - moves, 1 - moves)
    heads = np.ones((1, 1))
    gains = {("heads", "a", "b"): np.einsum("hg,abxy->habgxy", heads, both), ("heads", "a"): np.einsum("hg,ax->hagx", heads, 0.1 * moves)}
    found = best_orders(SIDE, gains)
    assert {name: order.tolist() for name, order in found.items()} == {"a": [[1, 0]], "b": [[1, 0]]}


def test_a_space_in_two_others_is_ordered_while_the_other_one_stays() -> None:
    """c lies in a and in b; b is another family's, pinned."""
    tree = Family(("a", "b", "c"), {"a": (), "b": ("a",), "c": ("a", "b")}, {"a": (), "c": ("b", "a")}, frozenset(("a", "c")), ())
    base = np.random.default_rng(3).normal(size=(3, 2, 4, 40))
    a, c = np.array([2, 0, 1]), np.stack([np.stack([np.random.default_rng(5 * i + j).permutation(4) for j in range(2)]) for i in range(3)])
    moved = np.stack([np.stack([base[a[i]][j][c[i][j]] for j in range(2)]) for i in range(3)])
    found = best_orders(tree, {("a", "b", "c"): np.einsum("abck,xyzk->abcxyz", moved, base)})
    assert found["a"].tolist() == a.tolist()
    assert found["c"].tolist() == c.transpose(1, 0, 2).tolist()  # the table says: in b, in a
    assert "b" not in found


def test_what_is_not_free_stays() -> None:
    both = random(4, 3, 3)
    found = best_orders(family(HEADS.inside, {"dims"}), {("heads", "dims"): both})
    assert set(found) <= {"dims"}
    alone = best_orders(family({"dims": ()}), {("dims",): both[1, :, 1]})
    assert orders_of(found, "dims", (3, 3))[1].tolist() == orders_of(alone, "dims", (3,)).tolist()


def test_ties_stay() -> None:
    assert not best_orders(SIDE, {("heads", "a", "b"): np.zeros((2, 3, 4, 2, 3, 4))})
