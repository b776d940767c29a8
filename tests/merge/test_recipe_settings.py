"""Gradients over depth and conditions on names."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import RecipeError
from loomweight.merge.marks import Place
from loomweight.merge.parameter import Parameter
from loomweight.merge.settings import Condition, Setting, gradient
from loomweight.merge.slots import depth

HERE = Place("", 1)
numbers = st.lists(st.floats(-10, 10), min_size=1, max_size=7)
depths = st.floats(0, 1)


@given(numbers, depths)
def test_a_gradient_is_linear_interpolation(values: list[float], t: float) -> None:
    expected = np.interp(t, np.linspace(0, 1, len(values)), values) if len(values) > 1 else values[0]
    assert gradient(tuple(values), t) == pytest.approx(expected, abs=1e-9)


@given(numbers, depths)
def test_a_gradient_stays_between_its_values(values: list[float], t: float) -> None:
    assert min(values) - 1e-9 <= gradient(tuple(values), t) <= max(values) + 1e-9


@given(numbers, depths)
def test_a_gradient_reversed_is_the_gradient_seen_from_the_other_end(values: list[float], t: float) -> None:
    assert gradient(tuple(values), t) == pytest.approx(gradient(tuple(reversed(values)), 1 - t), abs=1e-7)


@given(st.lists(st.booleans() | st.text(max_size=3), min_size=1, max_size=5), depths)
def test_words_and_flags_are_never_mixed(values: list[bool | str], t: float) -> None:
    assert gradient(tuple(values), t) in values
    assert gradient(tuple(values), 0) == values[0] and gradient(tuple(values), 1) == values[-1]


@given(st.integers(2, 40))
def test_depth_runs_from_the_first_layer_to_the_last(count: int) -> None:
    every = [depth(i, count) for i in range(count)]
    assert every[0] == 0 and every[-1] == 1 and np.allclose(np.diff(every), 1 / (count - 1))


def test_an_only_layer_counts_as_the_last() -> None:
    assert depth(0, 1) == 1


def test_the_first_condition_that_holds_decides() -> None:
    setting = Setting((Condition(1, "mlp", HERE), Condition(2, "up", HERE), Condition(3, "*", HERE), Condition(4, None, HERE)), HERE)
    assert [found.value for name in ("l.mlp.up", "l.up", "x") if (found := setting.find(name))] == [1, 2, 3]
    assert setting.shadowed() is setting.conditions[3]


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        (Parameter("density", low=0, high=1), 1.7, r"density must lie in \[0, 1\], found 1.7"),
        (Parameter("density", low=0, high=1), -0.5, r"density must lie in \[0, 1\], found -0.5"),
        (Parameter("t"), "half", r"t must be a finite number, found 'half'"),
        (Parameter("t"), True, r"t must be a finite number, found True"),
        (Parameter("t"), ".inf", r"t must be a finite number"),
        (Parameter("max_iter", "whole", low=1), 2.5, r"max_iter must be a whole number, found 2.5"),
        (Parameter("normalize", "flag"), "maybe", r"normalize must be true or false, found 'maybe'"),
        (Parameter("per", "word", words=("model", "layer")), "row", r"per must be one of model, layer, found 'row'"),
    ],
)
def test_values_of_the_wrong_kind_or_range(parameter: Parameter, value: object, words: str) -> None:
    for told in (value, (value, value)):  # alone, or within a gradient
        with pytest.raises(RecipeError, match=words):
            parameter.typed(Setting((Condition(told, None, HERE),), HERE))  # type: ignore[arg-type]


def test_words_that_are_numbers_interpolate_as_numbers() -> None:
    parameter = Parameter("weight")
    [condition] = parameter.typed(Setting((Condition(("1e-1", 0.3), None, HERE),), HERE)).conditions
    assert parameter.value(condition, 0.5) == pytest.approx(0.2)


def test_a_whole_number_between_two_is_refused_where_it_is_not_whole() -> None:
    parameter = Parameter("max_iter", "whole")
    [condition] = parameter.typed(Setting((Condition((1, 2), None, HERE),), HERE)).conditions
    assert parameter.value(condition, 1) == 2
    with pytest.raises(RecipeError, match=r"max_iter must be a whole number, found 1\.5"):
        parameter.value(condition, 0.5)
