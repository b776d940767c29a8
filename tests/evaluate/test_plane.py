"""Maps whose losses are known."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.testing import assert_close

from loomweight.errors import BadParameter, IntegersDiffer, NonFinite, OutputError
from loomweight.evaluate import Frame, plane
from loomweight.evaluate.picture import contour_levels
from loomweight.weights import Weights


def at(*numbers: float, label: str = "") -> Weights:
    tensor = torch.tensor(numbers, dtype=torch.float64)
    return Weights.of({"v": tensor[:1], "w": tensor[1:], "steps": torch.tensor(3)}, label)


def vector(weights: Weights) -> torch.Tensor:
    return torch.cat([weights["v"], weights["w"]])


@given(st.lists(st.floats(-3, 3), min_size=12, max_size=12), st.floats(-2, 2), st.floats(-2, 2))
def test_distances_in_the_plane_are_distances_of_weights(numbers: list[float], x: float, y: float) -> None:
    a, b, c = (at(*numbers[i : i + 4]) for i in (0, 4, 8))
    sides = torch.stack([vector(b) - vector(a), vector(c) - vector(a)])
    assume(torch.linalg.svdvals(sides)[-1] > 0.1)
    frame = Frame(a, b, c)
    point = frame.weights(x, y)
    for corner, weights in zip(frame.corners, (a, b, c), strict=True):
        assert float((vector(point) - vector(weights)).norm()) == pytest.approx(((x - corner[0]) ** 2 + (y - corner[1]) ** 2) ** 0.5, abs=1e-8)
        assert_close(vector(frame.weights(*corner)), vector(weights), rtol=0, atol=1e-9)
        assert frame.project(weights) == pytest.approx(corner, abs=1e-7)
    assert frame.project(point) == pytest.approx((x, y), abs=1e-7)
    off = torch.linalg.svd(sides)[2][-1]
    assert frame.project(at(*(vector(point) + off))) == pytest.approx((x, y), abs=1e-7)
    assert point["steps"] == 3


def test_a_bowl_is_round_and_its_bottom_is_found() -> None:
    """L = |w|^2 in the plane through three points of it is the squared distance from the plane's point nearest to 0."""
    a, b, c = at(1, 0, 1), at(-1, 0, 1), at(0, 2, 1)
    found = plane(lambda w: float(vector(w).square().sum()), a, b, c, steps=9, margin=0)
    bottom = Frame(a, b, c).project(at(0, 0, 1))
    for y, row in zip(found.ys, found.losses, strict=True):
        for x, loss in zip(found.xs, row, strict=True):
            assert loss == pytest.approx(1 + (x - bottom[0]) ** 2 + (y - bottom[1]) ** 2)
    assert found.lowest[0] == pytest.approx(1)
    assert found.lowest[1] == pytest.approx(bottom)
    assert found.ends == (2.0, 2.0, 5.0)
    assert (found.xs[0], found.xs[-1], found.ys[0], found.ys[-1]) == pytest.approx((0, 2, 0, 2))


def test_the_map_holds_all_three_and_its_margin() -> None:
    """The third lies far beyond the second along the first axis."""
    found = plane(lambda w: 0.0, at(0, 0), at(1, 0), at(5, 1), steps=3, margin=0.1)
    assert (found.xs[0], found.xs[-1]) == pytest.approx((-0.5, 5.5))
    assert (found.ys[0], found.ys[-1]) == pytest.approx((-0.1, 1.1))


def test_weights_are_built_one_at_a_time() -> None:
    calls = []
    plane(lambda w: calls.append(w) or 0.0, at(0, 0), at(1, 0), at(0, 1), steps=2)
    assert len(calls) == 7


def test_a_drawing(tmp_path) -> None:
    sets = (at(1, 0, label="first"), at(-1, 0, label="second"), at(0, 2, label="third"))
    found = plane(lambda w: float(vector(w).square().sum()) if vector(w)[0] < 1.2 else float("nan"), *sets, steps=7)
    assert found.labels == ("first", "second", "third")
    path = found.draw(tmp_path / "map.svg")
    text = path.read_text()
    assert "<svg" in text and len(text) > 10_000
    flat = plane(lambda w: 1.0, *sets, steps=3)
    assert flat.draw(tmp_path / "flat.png").stat().st_size > 1000
    with pytest.raises(OutputError, match="cannot be written"):
        found.draw(tmp_path / "no" / "map.png")


def test_levels_rise_and_crowd_where_models_live() -> None:
    levels = contour_levels([0.2, 50.0, float("inf")], [0.1, 0.3, 0.2])
    assert levels == sorted(set(levels)) and levels[0] == 0.1 and levels[-1] == pytest.approx(50)
    assert sum(level < 5 for level in levels) > len(levels) / 2


def test_bad_calls() -> None:
    for third in (at(2, 0), at(0, 0), at(1, 0)):
        with pytest.raises(BadParameter, match="lie on one line"):
            plane(lambda w: 0.0, at(0, 0), at(1, 0), third)
    with pytest.raises(BadParameter, match=r"found steps = 1, margin = 0\.2"):
        plane(lambda w: 0.0, at(0, 0), at(1, 0), at(0, 1), steps=1)
    with pytest.raises(NonFinite, match="the loss of second is nan"):
        plane(lambda w: float("nan") if w.label == "second" else 0.0, at(0, 0), at(1, 0, label="second"), at(0, 1))
    other = Weights.of({"v": torch.zeros(1).double(), "w": torch.ones(1).double(), "steps": torch.tensor(4)})
    with pytest.raises(IntegersDiffer, match="'steps' differs"):
        Frame(at(0, 0), at(1, 0), other)
