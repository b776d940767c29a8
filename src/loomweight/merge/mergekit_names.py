"""mergekit's methods, in our rules: names, parameters and defaults as in mergekit 0.1.5, so that its files mean the same.

Facts about its behaviour are measured (tests/parity); no code of it is used.
"""

from collections.abc import Callable
from typing import Any

from ..edits import Drop, DropBothEnds, Edit, KeepNorm, MagnitudeDrop, PerSet, Scale, Trim
from ..rules import SCE, ArceeFusion, Around, ElectSign, Mean, NearSwap, Rule, Take, karcher, model_stock, multislerp, nuslerp, slerp
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


def _ties(numbers: Numbers, setup: Setup) -> Rule:
    return _around(_elected(numbers), numbers, setup, Trim)


def _dare(numbers: Numbers, setup: Setup, rule: Rule) -> Rule:
    return _around(rule, numbers, setup, lambda density: Drop(1 - density, rescale=False, seed=setup.seed))


def _della(numbers: Numbers, setup: Setup, rule: Rule) -> Rule:
    return _around(rule, numbers, setup, lambda density, epsilon: MagnitudeDrop(density, epsilon, rescale=False, seed=setup.seed), "epsilon")


def _breadcrumbs(numbers: Numbers, setup: Setup, rule: Rule) -> Rule:
    return _around(rule, numbers, setup, DropBothEnds, "gamma")


def _elected(numbers: Numbers) -> Rule:
    return ElectSign(numbers.each["weight"], bool(numbers["normalize"]), tie="positive")  # type: ignore[arg-type]


def _around(rule: Rule, numbers: Numbers, setup: Setup, thin: Callable[..., Edit], *more: str) -> Rule:
    """base + lambda * rule(thinned differences). A density of 1 thins nothing; `rescale` keeps each tensor's sum of magnitudes."""
    rows = list(zip(*(numbers.each[name] for name in ("density", *more)), strict=True))
    thinned = [Scale(1.0) if row[0] == 1 else KeepNorm(thin(*row)) if numbers["rescale"] else thin(*row) for row in rows]
    if all(row[0] == 1 for row in rows):
        edits: tuple[Edit, ...] = ()
    else:
        edits = (thinned[0] if len(set(rows)) == 1 else PerSet(tuple(thinned)),)
    return Around(setup.base, rule, edits, numbers["lambda"])  # type: ignore[arg-type]


def _sce(numbers: Numbers, setup: Setup) -> Rule:
    return Around(setup.base, SCE(numbers["select_topk"], tie="positive", floor=1e-6))  # type: ignore[arg-type]


def _thinning(name: str, make: Callable[[Numbers, Setup], Rule], normalize: bool, rescale: bool, *more: Parameter) -> Method:
    """One of the methods that thin differences before they add them up; they share their parameters."""
    shared = (_weight(), LAMBDA, _flag("normalize", normalize), _each("density", 1.0), _flag("rescale", rescale), INT8)
    return Method(name, (*shared, *more), "origin", make)


GAMMA, EPSILON = _each("gamma", 0.01), _each("epsilon", 0.15)
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
    _thinning("ties", _ties, normalize=True, rescale=False),
    _thinning("dare_linear", lambda numbers, setup: _dare(numbers, setup, _mean(numbers)), normalize=False, rescale=True),
    _thinning("dare_ties", lambda numbers, setup: _dare(numbers, setup, _elected(numbers)), normalize=False, rescale=True),
    _thinning("della_linear", lambda numbers, setup: _della(numbers, setup, _mean(numbers)), False, True, EPSILON),
    _thinning("della", lambda numbers, setup: _della(numbers, setup, _elected(numbers)), True, True, EPSILON),
    _thinning("breadcrumbs", lambda numbers, setup: _breadcrumbs(numbers, setup, _mean(numbers)), False, False, GAMMA),
    _thinning("breadcrumbs_ties", lambda numbers, setup: _breadcrumbs(numbers, setup, _elected(numbers)), False, False, GAMMA),
    Method("sce", (Parameter("select_topk", default=1.0, low=0, high=1), INT8), "origin", _sce),
    Method("nearswap", (Parameter("t", low=0),), "first", lambda numbers, setup: NearSwap(numbers["t"]), fewest=2, most=2),  # type: ignore[arg-type]
    Method("arcee_fusion", (), "first", lambda numbers, setup: ArceeFusion(), fewest=2, most=2),
    Method("slerp", (Parameter("t", low=0, high=1),), "first", _slerp, fewest=2, most=2),
    Method("nuslerp", (_weight(), _flag("nuslerp_row_wise", False), _flag("nuslerp_flatten", True)), "optional", _nuslerp, fewest=2, most=2),
    Method("multislerp", (_weight(), _flag("normalize_weights", True), Parameter("eps", default=1e-8, idle=_EXACT)), "optional", _multislerp),
    Method("karcher", (Parameter("max_iter", "whole", default=10, low=0), Parameter("tol", default=1e-5, low=0)), "plain", _karcher),
    Method("model_stock", (_flag("filter_wise", False),), "origin", _model_stock, fewest=2),
)
