"""Layers with barriers of their own."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from loomweight.edits import Scale, Where
from loomweight.errors import BadParameter, NonFinite, UnknownName
from loomweight.evaluate import barrier, layerwise
from loomweight.rules import Mean, Route, Take, combine
from loomweight.weights import Weights

NAMES = ("embed.w", "layers.0.w", "layers.0.b", "layers.1.w", "layers.10.w", "head.w")


def at(numbers: dict[str, float] | float, label: str = "") -> Weights:
    values = numbers if isinstance(numbers, dict) else dict.fromkeys(NAMES, numbers)
    return Weights.of({name: torch.tensor(values[name], dtype=torch.float64) for name in NAMES} | {"n": torch.tensor(1)}, label)


def bumps(**heights: float):
    """A sum over tensors of -h w^2: between -1 and 1 a tensor alone rises by h."""
    return lambda weights: sum(-heights.get(name.replace(".", "_"), 0.0) * float(weights[name]) ** 2 for name in NAMES)


def test_every_layer_has_its_own_height() -> None:
    found = layerwise(bumps(embed_w=1, layers_0_w=2, layers_0_b=3, layers_1_w=-1), at(-1.0), at(1.0), steps=5)
    assert {group.name: group.height for group in found.groups} == {"embed": 1, "layers.0": 5, "layers.1": -0.75, "layers.10": 0, "head": 0}
    assert found.groups[1].tensors == ("layers.0.w", "layers.0.b")
    assert found.whole.height == 5
    assert found.below(0.5) == ("layers.1.*", "layers.10.*", "head.*")
    assert "layers.0" in str(found) and "5.0000" in str(found)


def test_the_height_is_the_papers_midpoint_above_the_mean_of_both_models() -> None:
    """Not above the mean of the first model and the model with the layer swapped in: that is the cut."""
    loss = lambda w: 3 * float(w["layers.0.w"]) + float(w["head.w"]) * 10  # noqa: E731
    group = next(group for group in layerwise(loss, at(0.0), at(1.0)).groups if group.name == "layers.0")
    assert group.height == pytest.approx(1.5 - (0 + 13) / 2)
    assert group.cut == pytest.approx(0)
    assert group.swap == 3


def test_cumulative_tables_end_in_the_whole() -> None:
    loss = bumps(embed_w=1, layers_0_w=2, layers_1_w=4, layers_10_w=8, head_w=16)
    first, last = (layerwise(loss, at(-1.0), at(1.0), mode=mode) for mode in ("first", "last"))
    assert [group.height for group in first.groups] == [1, 3, 7, 15, 31]
    assert [group.height for group in last.groups] == [31, 30, 28, 24, 16]
    assert first.groups[-1].height == last.groups[0].height == first.whole.height
    assert first.below(3) == ("embed.w", "layers.0.w", "layers.0.b")
    assert last.below(24) == ("layers.10.w", "head.w")


def test_the_rest_is_the_first_models() -> None:
    seen = []
    layerwise(lambda w: seen.append(dict(w)) or 0.0, at(2.0), at(6.0), groups=["layers.1*"])
    mixed = seen[-2]
    assert float(mixed["layers.1.w"]) == float(mixed["layers.10.w"]) == 4
    assert float(mixed["head.w"]) == float(mixed["layers.0.b"]) == 2
    assert mixed["n"] == 1


def test_shared_tensors_move_once() -> None:
    def tied(value: float) -> Weights:
        tensor = torch.full((2,), value)
        return Weights.of({"embed.w": tensor, "body.w": torch.full((2,), value), "head.w": tensor})

    found = layerwise(lambda w: -float(w["head.w"].square().sum()) - 3 * float(w["body.w"].square().sum()), tied(-1.0), tied(1.0))
    assert {group.name: group.height for group in found.groups} == {"embed": 2, "body": 6}
    assert found.groups[0].tensors == ("embed.w", "head.w")
    assert found.below(2) == ("embed.w", "head.w")


def test_what_is_below_goes_into_rules_and_edits() -> None:
    a, b = at(-1.0), at(1.0)
    loss = bumps(layers_0_w=2, layers_1_w=4)
    patterns = layerwise(loss, a, b).below(0)
    table = (*((pattern, Mean()) for pattern in patterns), ("*", Take(0)))
    merged = combine([a, b], Route(table))
    assert loss(merged) == loss(a) and float(merged["head.w"]) == 0 and float(merged["layers.1.w"]) == -1
    assert float(Where(patterns, Scale(5.0))(combine([a], Take(0)).select("*.w", "*.b"))["head.w"]) == -5


def test_deep_linear_networks_are_convex_along_a_layer_though_not_as_a_whole() -> None:
    """The paper's theorem: squared error is convex in any one layer of a linear network."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 6, generator=generator, dtype=torch.float64)
    y = x @ torch.randn(6, 2, generator=generator, dtype=torch.float64)
    model = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(3)), nn.Linear(6, 2, bias=False)).double()
    sets = [Weights.of({name: torch.randn(t.shape, generator=generator, dtype=t.dtype) for name, t in model.state_dict().items()}) for _ in range(2)]

    def loss(weights: Weights) -> float:
        return float((torch.func.functional_call(model, dict(weights), (x,)) - y).square().mean())

    assert all(group.cut < 1e-9 for group in layerwise(loss, *sets, steps=9).groups)
    turned = Weights.of(dict(sets[0].items()) | {name: -sets[0][name] for name in ("0.weight", "1.weight")})
    assert loss(turned) == pytest.approx(loss(sets[0]))
    assert_close(loss(sets[0]), loss(turned))
    start = dict(sets[0].items())
    start["3.weight"] = torch.linalg.lstsq(x @ (start["2.weight"] @ start["1.weight"] @ start["0.weight"]).T, y).solution.T
    best = Weights.of(start)
    mirrored = Weights.of(start | {name: -start[name] for name in ("0.weight", "1.weight")})
    assert barrier(loss, best, mirrored).height > 0.1


def test_a_drawing(tmp_path) -> None:
    assert "layers.10" in layerwise(bumps(head_w=1), at(-1.0), at(1.0)).draw(tmp_path / "layers.svg").read_text().replace("<!-- ", "")


def test_bad_calls() -> None:
    with pytest.raises(BadParameter, match="found steps = 2, mode = 'single'"):
        layerwise(bumps(), at(0.0), at(1.0), steps=2)
    with pytest.raises(UnknownName, match=r"no tensor left that matches named 'layer\.\*'"):
        layerwise(bumps(), at(0.0), at(1.0), groups=["*", "layer.*"])
    with pytest.raises(UnknownName, match=r"no group has a barrier of 0\.5 or less; the lowest is 'embed\*' with 1"):
        layerwise(bumps(embed_w=1), at(-1.0), at(1.0), groups=["embed*"]).below(0.5)
    with pytest.raises(NonFinite, match=r"the loss is nan at t = 0\.5 of head"):
        layerwise(lambda w: float("nan") if abs(float(w["head.w"])) < 0.1 and abs(float(w["embed.w"])) > 0.1 else 0.0, at(-1.0), at(1.0))
