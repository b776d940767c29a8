"""Trim and breadcrumbs keep exactly what their definitions say."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loomweight.edits import DropBothEnds, Edit, Trim
from loomweight.edits.groups import GRAINS
from loomweight.edits.ranges import one_of
from loomweight.errors import BadParameter, IntegersDiffer, NonFinite
from loomweight.rules import Around, Mean, combine
from loomweight.weights import Weights

numbers = st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.25]), min_size=1, max_size=30)
shares = st.floats(0, 1)


def in_order(values: list[float]) -> list[int]:
    """Positions from the largest magnitude to the smallest, ties by position: the second formula."""
    return sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))


def only_at(values: list[float], positions: list[int]) -> torch.Tensor:
    chosen = set(positions)
    return torch.tensor([value if i in chosen else 0.0 for i, value in enumerate(values)])


@given(values=numbers, keep=shares)
def test_trim_keeps_the_first_k_of_a_stable_sort(values: list[float], keep: float) -> None:
    k = max(1, int(keep * len(values))) if keep else 0
    assert torch.equal(Trim(keep).apply(torch.tensor(values)), only_at(values, in_order(values)[:k]))


@given(values=numbers, density=shares, gamma=shares)
def test_breadcrumbs_keeps_the_k_after_the_first_t(values: list[float], density: float, gamma: float) -> None:
    n = len(values)
    k, t = int(density * n), int(gamma * n)
    t = min(t, n - k)
    found = DropBothEnds(density, gamma).apply(torch.tensor(values))
    assert torch.equal(found, only_at(values, in_order(values)[t : t + k]))
    if all(values):
        assert int((found != 0).sum()) == k


@given(data=st.data(), by=st.sampled_from(["layer", "model"]), keep=shares)
def test_a_group_is_one_long_tensor_in_the_order_of_names(data: st.DataObject, by: str, keep: float) -> None:
    names = ["layers.1.b", "layers.0.b", "layers.1.a", "layers.0.a"]
    parts = {name: data.draw(numbers) for name in names}
    found = Trim(keep, by=by)(Weights.of({name: torch.tensor(part) for name, part in parts.items()}))
    for group in [sorted(names)] if by == "model" else [["layers.0.a", "layers.0.b"], ["layers.1.a", "layers.1.b"]]:
        together = Trim(keep).apply(torch.tensor([value for name in group for value in parts[name]]))
        assert torch.equal(torch.cat([found[name] for name in group]), together)


def test_large_tensors_are_trimmed_as_small_ones() -> None:
    x = torch.randn(600, 500, generator=torch.Generator().manual_seed(1))
    kept = Trim(0.2).apply(x) != 0
    assert int(kept.sum()) == 60_000
    assert x.abs()[kept].min() >= x.abs()[~kept].max()
    coarse = (4 * x).round()
    flat = coarse.reshape(-1).tolist()
    assert torch.equal(Trim(0.2).apply(coarse).reshape(-1), only_at(flat, in_order(flat)[:60_000]))


def test_a_shared_tensor_counts_once() -> None:
    shared = torch.tensor([3.0, 1.0])
    weights = Weights.of({"embed": shared, "head": shared, "norm": torch.tensor([2.0, 0.5])})
    trimmed = Trim(0.5, by="model")(weights)
    assert trimmed.ties == {"head": "embed"}
    assert [trimmed[name].tolist() for name in weights] == [[3, 0], [3, 0], [2, 0]]


def test_dtypes_of_one_group_compare_as_numbers() -> None:
    weights = Weights.of({"a": torch.tensor([0.1], dtype=torch.float64), "b": torch.tensor([0.1], dtype=torch.float32)})
    found = Trim(0.5, by="model")(weights)  # 0.1 in float32 is the larger one
    assert found["a"].item() == 0 and found["b"].item() == torch.tensor(0.1).item()


def test_an_infinite_entry_does_not_leak() -> None:
    assert DropBothEnds(0.5, 0.25).apply(torch.tensor([torch.inf, 3.0, 2.0, 1.0])).tolist() == [0, 3, 2, 0]


@pytest.mark.parametrize("edit", [Trim(0.5), Trim(0.5, by="model"), DropBothEnds(0.5, 0.25)])
def test_nan_is_refused_by_name(edit: Edit) -> None:
    with pytest.raises(NonFinite, match=r"tensor 'layers\.0\.w'.*entry 1 .*NaN"):
        dict(edit(Weights.of({"layers.0.w": torch.tensor([1.0, torch.nan, 2.0, 3.0])})))


def test_integers_are_refused_by_name() -> None:
    for edit in (Trim(0.5), Trim(0.5, by="model")):
        with pytest.raises(IntegersDiffer, match="'ids'"):
            edit(Weights.of({"w": torch.ones(2), "ids": torch.arange(3)}))


@pytest.mark.parametrize("keep", [1.7, -0.5, math.nan, math.inf])
def test_shares_outside_0_to_1_are_refused(keep: float) -> None:
    for make in (Trim, DropBothEnds, lambda gamma: DropBothEnds(0.5, gamma)):
        with pytest.raises(BadParameter, match=rf"must be from 0 to 1, found {keep}"):
            make(keep)


def test_an_unknown_word_is_refused() -> None:
    made = SimpleNamespace(by="row")  # the annotations, which are checked while testing, would be faster
    with pytest.raises(BadParameter, match="SimpleNamespace: by must be one of tensor, layer, model, found 'row'"):
        one_of(made, "by", GRAINS)


def test_trimming_differences_from_a_base() -> None:
    base = Weights.of({"w": torch.tensor([1.0, 1.0, 1.0, 1.0])})
    tuned = [{"w": torch.tensor([1.5, 1.0, 2.0, 1.0])}, {"w": torch.tensor([1.0, 0.0, 1.25, 1.0])}]
    assert combine(tuned, Around(base, Mean(), (Trim(0.25),)))["w"].tolist() == [1.0, 0.5, 1.5, 1.0]
