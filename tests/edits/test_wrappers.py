"""Edits of some tensors, of some sets, with masks and norms."""

import math

import pytest
import torch

from loomweight.edits import Clip, Drop, DropBothEnds, KeepNorm, MagnitudeDrop, Mask, PerSet, Quantise, Scale, Trim, Where, Zero
from loomweight.errors import BadParameter, NamesDiffer, ShapesDiffer, UnknownName
from loomweight.rules import Around, Mean, combine
from loomweight.weights import Weights
from loomweight.weights.gram import norm

GENERATOR = torch.Generator().manual_seed(0)
DELTA = Weights.of({name: torch.randn(4, 6, generator=GENERATOR) for name in ("layers.0.w", "layers.1.w", "layers.10.w", "head.w")})


def test_a_robustness_signature() -> None:
    """Shallow layers only, quantised: what is deep is the base's, what is shallow is near the difference."""
    signature = Where(("layers.0.*", "layers.1.*"), Quantise(8), otherwise=Zero())(DELTA)
    for name in ("layers.0.w", "layers.1.w"):
        step = DELTA[name].abs().amax(1, keepdim=True) / 127
        assert ((signature[name] - DELTA[name]).abs() <= step / 2 * 1.001).all()
    assert not signature["layers.10.w"].any() and not signature["head.w"].any()


def test_groups_inside_where_are_of_the_tensors_that_match() -> None:
    found = Where(("layers.*",), Trim(0.5, by="model"))(DELTA)
    alone = Trim(0.5, by="model")(DELTA.select("layers.*"))
    assert all(torch.equal(found[name], alone[name]) for name in alone)
    assert torch.equal(found["head.w"], DELTA["head.w"])


def test_a_shared_tensor_is_edited_once_where_any_name_matches() -> None:
    shared = torch.ones(2)
    weights = Weights.of({"embed": shared, "head": shared, "norm": torch.ones(2)})
    found = Where(("head",), Scale(3.0))(weights)
    assert found.ties == {"head": "embed"}
    assert {name: t.tolist() for name, t in found.items()} == {"embed": [3, 3], "head": [3, 3], "norm": [1, 1]}


def test_integers_pass_where_they_are_not_edited() -> None:
    weights = Weights.of({"w": torch.ones(2), "ids": torch.arange(2)})
    found = Where(("w",), Scale(2.0))(weights)
    assert found["w"].tolist() == [2, 2] and torch.equal(found["ids"], torch.arange(2))


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"no tensor that matches named 'layer\.\*'.*layers\.0\.w"):
        Where(("layers.*", "layer.*"), Zero())(DELTA)


@pytest.mark.parametrize("inner", [Trim(0.3), Trim(0.3, by="model"), Drop(0.6), MagnitudeDrop(0.5, 0.2, rescale=False), DropBothEnds(0.5, 0.1)])
@pytest.mark.parametrize(("word", "p"), [("l1", 1), ("l2", 2)])
def test_the_norm_is_kept(inner: Trim, word: str, p: int) -> None:
    found, plain = KeepNorm(inner, word)(DELTA), inner(DELTA)  # type: ignore[arg-type]
    for name in DELTA:
        torch.testing.assert_close(found[name].norm(p), DELTA[name].norm(p), rtol=1e-5, atol=0)
        torch.testing.assert_close(found[name] * plain[name].norm(p), plain[name] * DELTA[name].norm(p), rtol=1e-4, atol=1e-5)


def test_nothing_left_cannot_be_rescaled() -> None:
    assert not KeepNorm(Zero()).apply(torch.ones(3)).any()


@pytest.mark.parametrize("limit", [0.0, 1.0, 100.0])
def test_clipping_bounds_the_norm_and_keeps_the_direction(limit: float) -> None:
    found = Clip(limit, by="model")(DELTA)
    assert norm(found) == pytest.approx(min(limit, norm(DELTA)), rel=1e-6)
    factor = min(1.0, limit / norm(DELTA))
    assert all(torch.allclose(found[name], DELTA[name] * factor) for name in DELTA)
    layers = Clip(limit, by="layer")(DELTA)
    assert all(norm(layers.select(name)) == pytest.approx(min(limit, norm(DELTA.select(name))), rel=1e-6) for name in DELTA)


@pytest.mark.parametrize("limit", [-1.0, math.nan])
def test_limits_are_not_negative(limit: float) -> None:
    with pytest.raises(BadParameter, match=rf"Clip: limit must be from 0 to inf, found {limit}"):
        Clip(limit)


def test_masks_of_any_dtype() -> None:
    x = torch.tensor([[1.0, -2.0], [torch.inf, 4.0]])
    for mask in (torch.tensor([[True, True], [False, False]]), torch.tensor([[1, -1], [0, 0]]), torch.tensor([[0.5, 2.0], [0.0, -0.0]])):
        assert Mask(Weights.of({"w": mask})).apply(x, "w").tolist() == [[1, -2], [0, 0]]


def test_masks_must_fit() -> None:
    masks = Weights.of({"w": torch.ones(2), "v": torch.ones(2)})
    with pytest.raises(NamesDiffer, match="only in the second: 'v'"):
        Mask(masks)(Weights.of({"w": torch.ones(2)}))
    with pytest.raises(ShapesDiffer, match=r"tensor 'w' has shape \(3,\) and its mask \(2,\)"):
        Mask(masks)(Weights.of({"w": torch.ones(3), "v": torch.ones(2)}))["w"]


def test_another_edit_for_each_set() -> None:
    base = Weights.of({"w": torch.zeros(4)})
    sets = [{"w": torch.tensor([4.0, 3.0, 2.0, 1.0])}, {"w": torch.tensor([1.0, 2.0, 3.0, 4.0])}]
    densities = PerSet((Trim(0.25), Trim(0.75)))
    assert combine(sets, Around(base, Mean(), (densities,)))["w"].tolist() == [2, 1, 1.5, 2]
    inside = Where(("w",), KeepNorm(densities))
    assert combine(sets, Around(base, Mean(), (inside,)))["w"].tolist() == pytest.approx([5, 10 / 9, 15 / 9, 20 / 9])


def test_a_dropped_set_takes_its_edit_with_it() -> None:
    base = Weights.of({"w": torch.zeros(2)})
    sets = [{"w": torch.tensor([torch.nan, 1.0])}, {"w": torch.tensor([1.0, 2.0])}]
    found = combine(sets, Around(base, Mean(), (Where(("w",), KeepNorm(PerSet((Zero(), Scale(2.0))))),)), nonfinite="drop")
    assert found["w"].tolist() == [1, 2]


def test_more_sets_than_edits() -> None:
    with pytest.raises(BadParameter, match="PerSet has 1 edits, but there is a set number 2"):
        combine([{"w": torch.ones(2)}] * 2, Around(Weights.of({"w": torch.zeros(2)}), Mean(), (PerSet((Zero(),)),)))
    with pytest.raises(BadParameter, match="pick one with on_stream"):
        PerSet((Zero(),)).apply(torch.ones(2))
