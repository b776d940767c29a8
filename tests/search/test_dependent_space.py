"""Spaces of networks: fields that matter only beside others; counted, listed, drawn, encoded, mutated and crossed."""

import pickle
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter, UnknownName
from loomweight.search import Choice, Float, Int, Ordered, Space, Values

#: three layers at most; each has a width, the third an operator whose kernel matters for convolutions alone
NET = Space(
    {
        "kernel": Ordered((3, 5, 7)),
        "width.1": Ordered((8, 16)),
        "depth": Ordered((1, 2, 3)),
        "width.2": Ordered((8, 16, 32)),
        "op": Choice(("skip", "conv")),
    },
    depends={"kernel": ("op", ("conv",)), "width.2": ("depth", (2, 3)), "op": ("depth", (3,))},
)
NAMES = list(NET.dimensions)


#: what a field may be, by the number of its values
KINDS = (lambda n: Ordered(tuple(range(n))), lambda n: Choice(tuple("xyz"[:n])), lambda n: Int(0, n - 1))


@st.composite
def plans(draw: st.DrawFn) -> list[tuple[str, int, int, int, tuple[int, ...]]]:
    """For each field: name, kind, number of values, which field before it it depends on (-1: none), and for which values."""
    names = draw(st.permutations("abcde"))[: draw(st.integers(1, 5))]
    plan: list[tuple[str, int, int, int, tuple[int, ...]]] = []
    for i, name in enumerate(names):
        other = draw(st.integers(-1, i - 1))
        size = plan[other][2] if other >= 0 else 1
        allowed = draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True))
        plan.append((name, draw(st.integers(0, 2)), draw(st.integers(1, 3)), other, tuple(allowed)))
    return plan


def built(plan: list[tuple[str, int, int, int, tuple[int, ...]]]) -> Space:
    """The space of a plan; its fields in the order of their names, so that a field may stand before the one it depends on."""
    dimensions = {name: KINDS[kind](size) for name, kind, size, _, _ in plan}
    depends = {}
    for name, _, _, other, allowed in plan:
        if other >= 0:
            options = list(dimensions[plan[other][0]].every())
            depends[name] = (plan[other][0], tuple(options[i] for i in allowed))
    return Space({name: dimensions[name] for name in sorted(dimensions)}, depends)


def brute(space: Space) -> set[tuple[object, ...]]:
    """Every combination, put into its canonical form, by the definition: a field matters if its whole chain of parents allows it."""

    def matters(name: str, values: Values) -> bool:
        if name not in space.depends:
            return True
        other, allowed = space.depends[name]
        return values[other] in allowed and matters(other, values)

    everything = product(*(list(dimension.every()) for dimension in space.dimensions.values()))
    found = set()
    for row in everything:
        values = dict(zip(space.names, row, strict=True))
        found.add(tuple(value if matters(name, values) else list(space.dimensions[name].every())[-1] for name, value in values.items()))
    return found


@given(plans())
def test_count_and_listing_agree_with_the_definition(plan: list) -> None:
    space = built(plan)
    listed = [tuple(values.values()) for values in space.enumerate()]
    assert len(listed) == len(set(listed)) == space.count()
    assert set(listed) == brute(space)
    assert all(list(values) == list(space.names) for values in space.enumerate())


def test_a_count_by_hand() -> None:
    """Widths of layer 1 (2), then depth 1 (1), depth 2 (3 widths), depth 3 (3 widths x (skip or 3 kernels))."""
    assert NET.count() == 2 * (1 + 3 + 3 * (1 + 3)) == len(list(NET.enumerate()))


def test_a_large_space_is_counted_without_listing_it() -> None:
    layers = {f"width.{i}": Ordered((1, 2, 3)) for i in range(1, 61)}
    depends = {f"width.{i}": ("depth", tuple(range(i, 61))) for i in range(1, 61)}
    assert Space({"depth": Int(1, 60)} | layers, depends).count() == sum(3**d for d in range(1, 61))


@given(plans(), st.integers(0, 99))
def test_everything_that_is_drawn_is_canonical(plan: list, seed: int) -> None:
    space = built(plan)
    draw = np.random.default_rng(seed)
    a, b = space.sample(draw), space.sample(draw)
    child = space.cross(a, b, draw)
    for values in (a, b, child):
        assert space.canonical(values) == values
    where = space.matters(child)
    assert all(any(child[name] == parent[name] and name in space.matters(parent) for parent in (a, b)) for name in where)
    if any(space.dimensions[name].options_left(a[name]) for name in space.matters(a)):
        assert space.mutate(a, draw) != a


def test_samples_reach_every_configuration() -> None:
    draw = np.random.default_rng(0)
    seen = {tuple(NET.sample(draw).values()) for _ in range(1500)}
    assert len(seen) == NET.count()


def test_one_mutation_changes_one_field_and_draws_what_begins_to_matter() -> None:
    start = NET.canonical({"depth": 1, "width.1": 8})
    draw = np.random.default_rng(0)
    children = [NET.mutate(start, draw) for _ in range(300)]
    for child in children:
        assert sum(child[name] != start[name] for name in ("depth", "width.1")) == 1
    deeper = [child for child in children if child["depth"] == 3]
    assert {child["width.2"] for child in deeper} == {8, 16, 32}
    assert {child["kernel"] for child in deeper if child["op"] == "conv"} == {3, 5, 7}


def test_a_rate_changes_that_share_of_the_fields_and_one_at_least() -> None:
    space = Space({f"x{i}": Ordered((1, 2, 3, 4)) for i in range(20)})
    start, draw = space.sample(1), np.random.default_rng(2)

    def changes(rate: float) -> int:
        child = space.mutate(start, draw, rate)
        return sum(child[name] != start[name] for name in space.names)

    changed = [changes(0.3) for _ in range(400)]
    assert np.mean(changed) == pytest.approx(6, abs=4 * (20 * 0.3 * 0.7 / 400) ** 0.5)  # four standard errors of 400 draws
    assert {changes(0) for _ in range(20)} == {1}


def test_encoding_is_the_same_for_the_same_network_and_differs_for_others() -> None:
    codes = {tuple(NET.encode(values).tolist()) for values in NET.enumerate()}
    assert len(codes) == NET.count()
    assert NET.encode({"depth": 1, "width.1": 8}).tolist() == NET.encode({"depth": 1, "width.1": 8, "width.2": 8, "op": "skip"}).tolist()
    assert NET.columns == ("kernel", "width.1", "depth", "width.2", "op='skip'", "op='conv'")
    code = NET.encode({"kernel": 5, "width.1": 16, "depth": 3, "width.2": 16, "op": "conv"})
    assert code.dtype == np.float32
    assert code.tolist() == pytest.approx([0.5, 1, 1, 1 / 3, 0, 1])
    assert Space({"rate": Float(1e-4, 1, log=True)}).encode({"rate": 1e-2}).tolist() == pytest.approx([0.5])


def test_seeds_and_generators() -> None:
    assert NET.sample(7) == NET.sample(np.random.default_rng(7))
    kept, again = Random(3), Random(3)
    drawn = [NET.sample(kept) for _ in range(5)]
    assert drawn == [NET.sample(again) for _ in range(5)] and len({str(values) for values in drawn}) > 1
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 - that the process's own generator is not touched
    NET.sample(0)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    for bad in ("seed", True, -1, None):
        with pytest.raises(BadParameter, match="random numbers come from"):
            NET.sample(bad)


def test_it_survives_pickle_and_is_described_with_what_depends() -> None:
    again = pickle.loads(pickle.dumps(NET))
    assert again == NET and again.count() == NET.count()
    assert NET.described()["width.2"] == {"kind": "Ordered", "options": (8, 16, 32), "depends": ["depth", [2, 3]]}
    assert "depends" not in NET.described()["depth"]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: NET.canonical({"depth": 4, "width.1": 8}), BadParameter, r"depth = 4 is not in Ordered\(options=\(1, 2, 3\)\); allowed: 1, 2, 3"),
        (lambda: NET.canonical({"depth": 2, "width.1": 8}), BadParameter, r"no value for 'width.2'; allowed: 8, 16, 32"),
        (lambda: NET.canonical({"dpeth": 2}), UnknownName, "nearest: 'depth'"),
        (lambda: NET.canonical({"depth": 1, "width.1": 8, "op": "pool"}), BadParameter, "op = 'pool' is not in .*allowed: 'skip', 'conv'"),
        (lambda: NET.mutate(NET.sample(0), 0, rate=2), BadParameter, r"\[0, 1\], found 2"),
        (lambda: Space({"a": Choice(("x",))}).mutate({"a": "x"}, 0), BadParameter, "nothing to mutate"),
        (lambda: Space({"x": Float(0, 1)}).count(), BadParameter, "'x' is Float.*cannot be counted"),
        (lambda: Ordered((3, 2)), BadParameter, "the smaller first; use Choice"),
        (lambda: Ordered((1, "2")), BadParameter, "needs numbers"),
        (lambda: Ordered((False, 2)), BadParameter, "needs numbers"),
        (lambda: Space({"a": Int(1, 2)}, {"b": ("a", (1,))}), UnknownName, "no dimension named 'b'"),
        (lambda: Space({"a": Int(1, 2)}, {"a": ("b", (1,))}), UnknownName, "no dimension named 'b'"),
        (lambda: Space({"a": Int(1, 2), "b": Int(1, 2)}, {"a": ("b", (3,))}), BadParameter, "where b = 3, .* allowed: whole numbers from 1 to 2"),
        (lambda: Space({"a": Int(1, 2), "b": Int(1, 2)}, {"a": ("b", ())}), BadParameter, "'a' would never matter"),
        (lambda: Space({"a": Int(1, 2), "b": Int(1, 2)}, {"a": "b"}), BadParameter, "needs a pair"),
        (lambda: Space({"a": Int(1, 2), "b": Float(1, 2)}, {"a": ("b", (1.5,))}), BadParameter, "'b', a number without gaps"),
        (lambda: Space({"a": Int(1, 2), "b": Int(1, 2)}, {"a": ("b", (1,)), "b": ("a", (1,))}), BadParameter, "a depends on b depends on a"),
        (lambda: Space({"a": Int(1, 2)}, {"a": ("a", (1,))}), BadParameter, "a depends on a"),
    ],
)
def test_what_is_refused(call: "type[Space]", error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
