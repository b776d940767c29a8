"""mergekit's methods, in our rules: names, parameters and defaults as in mergekit 0.1.5, so that its files mean the same.

Facts about its behaviour are measured (tests/parity); no code of it is used.
"""

from typing import Any

from ..rules import Around, Mean, Rule, Take
from .method import Method, Numbers, Setup
from .parameter import Parameter, Reach

INT8 = Parameter("int8_mask", "flag", default=False, idle="it saves memory in mergekit; memory is bounded here anyway")


def _weight(reach: Reach = "each") -> Parameter:
    return Parameter("weight", reach=reach)


def _each(name: str, default: Any, idle: str = "") -> Parameter:
    return Parameter(name, reach="each", default=default, low=0, high=1, idle=idle)


def _flag(name: str, default: bool, idle: str = "") -> Parameter:
    return Parameter(name, "flag", default=default, idle=idle)


LAMBDA = Parameter("lambda", default=1.0)


def _linear(numbers: Numbers, setup: Setup) -> Rule:
    return _mean(numbers)


def _passthrough(numbers: Numbers, setup: Setup) -> Rule:
    (scale,) = numbers.each["scale"]
    return Take(0) if scale is None else Mean((scale,), normalize=False)  # type: ignore[arg-type]


def _task_arithmetic(numbers: Numbers, setup: Setup) -> Rule:
    return Around(setup.base, _mean(numbers), scale=numbers["lambda"])  # type: ignore[arg-type]


def _mean(numbers: Numbers) -> Mean:
    """sum_i a_i w_i, divided by the sum of a_i where the recipe says so and that sum is not 0."""
    weights: tuple[float, ...] = numbers.each["weight"]  # type: ignore[assignment]
    return Mean(weights, normalize=bool(numbers["normalize"]) and abs(sum(weights)) >= 1e-8)


_NO_TRIM = "task_arithmetic keeps every difference whole; ties, dare_linear, breadcrumbs and della_linear thin them"

METHODS = (
    Method("linear", (_weight("every"), _flag("normalize", True)), "plain", _linear),
    Method("passthrough", (Parameter("scale", reach="every", default=None),), "plain", _passthrough, most=1),
    Method(
        "task_arithmetic",
        (_weight(), LAMBDA, _flag("normalize", False), _each("density", 1.0, _NO_TRIM), _flag("rescale", False, _NO_TRIM), INT8),
        "origin",
        _task_arithmetic,
    ),
)
