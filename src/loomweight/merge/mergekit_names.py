"""mergekit's methods, in our rules: names, parameters and defaults as in mergekit 0.1.5, so that its files mean the same.

Facts about its behaviour are measured (tests/parity); no code of it is used.
"""

from typing import Any

from ..rules import Around, Mean, Rule, Take, karcher, model_stock, multislerp, nuslerp, slerp
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


def _slerp(numbers: Numbers, setup: Setup) -> Rule:
    return slerp(numbers["t"], straight=0.9995)  # type: ignore[arg-type]


def _nuslerp(numbers: Numbers, setup: Setup) -> Rule:
    return nuslerp(numbers.each["weight"], setup.base, bool(numbers["nuslerp_flatten"]), bool(numbers["nuslerp_row_wise"]))  # type: ignore[arg-type]


def _multislerp(numbers: Numbers, setup: Setup) -> Rule:
    if setup.sets == 1:
        return Take(0)
    return multislerp(numbers.each["weight"], setup.base, bool(numbers["normalize_weights"]))  # type: ignore[arg-type]


def _karcher(numbers: Numbers, setup: Setup) -> Rule:
    return Take(0) if setup.sets == 1 else karcher(None, numbers["max_iter"], numbers["tol"])  # type: ignore[arg-type]


def _model_stock(numbers: Numbers, setup: Setup) -> Rule:
    return model_stock(setup.base, "row" if numbers["filter_wise"] else "tensor", extrapolate=True)  # type: ignore[arg-type]


def _mean(numbers: Numbers) -> Mean:
    """sum_i a_i w_i, divided by the sum of a_i where the recipe says so and that sum is not 0."""
    weights: tuple[float, ...] = numbers.each["weight"]  # type: ignore[assignment]
    return Mean(weights, normalize=bool(numbers["normalize"]) and abs(sum(weights)) >= 1e-8)


_NO_TRIM = "task_arithmetic keeps every difference whole; ties, dare_linear, breadcrumbs and della_linear thin them"

_EXACT = "what it guards against is treated exactly"

METHODS = (
    Method("linear", (_weight("every"), _flag("normalize", True)), "plain", _linear),
    Method("passthrough", (Parameter("scale", reach="every", default=None),), "plain", _passthrough, most=1),
    Method(
        "task_arithmetic",
        (_weight(), LAMBDA, _flag("normalize", False), _each("density", 1.0, _NO_TRIM), _flag("rescale", False, _NO_TRIM), INT8),
        "origin",
        _task_arithmetic,
    ),
    Method("slerp", (Parameter("t", low=0, high=1),), "first", _slerp, fewest=2, most=2),
    Method("nuslerp", (_weight(), _flag("nuslerp_row_wise", False), _flag("nuslerp_flatten", True)), "optional", _nuslerp, fewest=2, most=2),
    Method("multislerp", (_weight(), _flag("normalize_weights", True), Parameter("eps", default=1e-8, idle=_EXACT)), "optional", _multislerp),
    Method("karcher", (Parameter("max_iter", "whole", default=10, low=0), Parameter("tol", default=1e-5, low=0)), "plain", _karcher),
    Method("model_stock", (_flag("filter_wise", False),), "origin", _model_stock, fewest=2),
)
