"""What may be chosen, and what is refused."""

import pytest

from loomweight.errors import BadParameter, UnknownName
from loomweight.search import Choice, Dimension, Float, Int, Space, Study

SPACE = Space({"weight": Float(0, 1), "layers": Int(1, 8), "method": Choice(("ties", 1, True, 1.0, None))})


def test_values_come_back_in_the_order_of_the_space() -> None:
    values = SPACE.check({"method": None, "layers": 3, "weight": 1})
    assert list(values) == ["weight", "layers", "method"]


@pytest.mark.parametrize("option", ["ties", 1, True, 1.0, None])
def test_options_that_compare_equal_stay_apart(option: object) -> None:
    study = Study(SPACE, first=[{"weight": 0, "layers": 1, "method": option}])
    back = study.ask()[1]["method"]
    assert back == option
    assert type(back) is type(option)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"weight": 2.0, "layers": 1, "method": "ties"}, BadParameter, r"weight = 2.0 is not in Float\(low=0, high=1"),
        ({"weight": 0.5, "layers": 1.5, "method": "ties"}, BadParameter, "layers = 1.5 is not in Int"),
        ({"weight": 0.5, "layers": True, "method": "ties"}, BadParameter, "layers = True is not in Int"),
        ({"weight": 0.5, "layers": 1, "method": "tise"}, BadParameter, "method = 'tise' is not in Choice"),
        ({"weight": float("nan"), "layers": 1, "method": "ties"}, BadParameter, "weight = nan"),
        ({"weight": 0.5, "method": "ties"}, BadParameter, "there is no value for 'layers'"),
        ({"wieght": 0.5, "layers": 1, "method": "ties"}, UnknownName, "no dimension named 'wieght'; nearest: 'weight'"),
    ],
)
def test_bad_values(values: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        SPACE.check(values)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Float(1, 0),
        lambda: Float(0, float("inf")),
        lambda: Float(0, 1, log=True),
        lambda: Int(0, 1.5),
        lambda: Choice(()),
        lambda: Choice(("a", "a")),
        lambda: Choice(((1, 2),)),
        lambda: Space({}),
    ],
)
def test_bad_dimensions(make: "type[Dimension]") -> None:
    with pytest.raises(BadParameter):
        make()
