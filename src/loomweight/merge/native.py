"""Any rule of `loomweight.rules` as a merge method: its fields are the parameters, its defaults theirs.

`merge_method: trimmed_mean` with `parameters: {f: 1}` is `TrimmedMean(f=1)`. A field with one number a model (`weights`,
`strengths`) is a parameter of each model, in the singular; one with a weight set a model (`evidence`, `grams`) is a path under
each model's parameters; a field `base` is the base model. `per: layer` or `per: tensor` binds the rule to every layer or tensor
alone. A rule that knows no base is applied to differences from `base_model` where the recipe names one, and `lambda` scales
what it makes of them.
"""

import inspect
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .. import rules
from ..edits import Edit
from ..errors import BadParameter
from ..rules import Around, Per, Rule
from ..weights import Weights
from .marks import Place
from .method import Method, Numbers, Setup
from .parameter import REQUIRED, Parameter

#: rules over other rules: what they are made of cannot be said in one line of YAML
_WRAPPERS = (rules.Around, rules.Per, rules.PerVector, rules.Route)
LAMBDA = Parameter("lambda", default=1.0)
PER = Parameter("per", "word", default="model", words=("model", "layer", "tensor"))


def made_by() -> dict[str, Callable[..., Rule]]:
    """Name in recipes -> the function that makes a rule, or else the rule's class, for all that `loomweight.rules` exports."""
    found = {name: thing for name, thing in vars(rules).items() if not name.startswith("_") and _makes_rule(thing)}
    return {_snake(name): thing for name, thing in sorted(found.items(), key=lambda one: not inspect.isclass(one[1]))}


def native(name: str, thing: Callable[..., Rule], place: Place) -> Method:
    """A rule as a method.

    Raises:
        RecipeError: it needs something that YAML cannot say.
    """
    inputs = [_input(parameter) for parameter in _signature(thing)]
    if beyond := [one.field for one in inputs if one.role == "beyond" and one.required]:
        place.refuse(f"{name} needs {', '.join(beyond)}, which YAML cannot say; use it from Python: loomweight.combine.")
    parameters = tuple(one.parameter for one in inputs if one.parameter)
    base = [one for one in inputs if one.role == "base"]

    def make(numbers: Numbers, setup: Setup) -> Rule:
        rule = thing(*_positional(inputs, numbers), **_named(inputs, numbers, setup))
        if not base:
            rule = _around(rule, setup.base, float(numbers["lambda"]))  # type: ignore[arg-type]
        return rule if numbers["per"] == "model" else Per(numbers["per"], rule)  # type: ignore[arg-type]

    own = (PER,) if base else (LAMBDA, PER)
    return Method(name, (*parameters, *own), "origin" if base and base[0].required else "optional", make, getattr(thing, "fewest", 1))


@dataclass(frozen=True)
class _Input:
    """One argument of a rule: how it is said in a recipe."""

    field: str
    role: Literal["shared", "numbers", "sets", "base", "seed", "rest", "beyond"]
    required: bool
    parameter: Parameter | None = None


def _named(inputs: list[_Input], numbers: Numbers, setup: Setup) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in inputs:
        match one.role:
            case "shared" if one.parameter:
                found[one.field] = numbers[one.parameter.name]
            case "numbers" if one.parameter:
                found[one.field] = _all_or_none(one.parameter.name, numbers.each[one.parameter.name])
            case "sets" if one.parameter:
                found[one.field] = tuple(setup.load(str(path)) for path in numbers.each[one.parameter.name])
            case "base":
                found[one.field] = setup.base
            case "seed":
                found[one.field] = setup.seed
    return found


def _around(rule: Rule, base: Weights | None, scale: float) -> Rule:
    if base is None and scale != 1:
        raise BadParameter("lambda scales differences from a base; add base_model, or leave lambda out.")
    return rule if base is None else Around(base, rule, scale=scale)


def _positional(inputs: list[_Input], numbers: Numbers) -> tuple[Any, ...]:
    return next((numbers.each[one.parameter.name] for one in inputs if one.role == "rest" and one.parameter), ())


def _all_or_none(name: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
    lacking = [i for i, value in enumerate(values) if value is None]
    if lacking and len(lacking) < len(values):
        raise BadParameter(f"{name} is set for some models and not for all of them; set it for each, or for none.")
    return None if lacking or not values else values


def _input(parameter: inspect.Parameter) -> _Input:
    required = parameter.default is inspect.Parameter.empty
    default = REQUIRED if required else parameter.default
    kinds = [kind for kind in _alternatives(parameter.annotation) if kind is not type(None)]
    name = parameter.name
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return _Input(name, "rest", True, Parameter(name, reach="each"))
    if name == "base":
        return _Input(name, "base", required)
    if name == "seed":
        return _Input(name, "seed", required)
    if kinds == [tuple[float, ...]]:
        return _Input(name, "numbers", required, Parameter(name.removesuffix("s"), reach="each", default=REQUIRED if required else None))
    if kinds == [tuple[Weights, ...]]:
        return _Input(name, "sets", required, Parameter(name, "word", reach="each"))
    words = tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))
    kind = "word" if words else _KINDS.get(kinds[0]) if len(kinds) == 1 else None
    if kind is None:
        return _Input(name, "beyond", required)
    return _Input(name, "shared", required, Parameter(name, kind, default=default, words=words))  # type: ignore[arg-type]


_KINDS: dict[Any, str] = {float: "number", int: "whole", bool: "flag", str: "word", tuple[str, ...]: "words"}


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _signature(thing: Callable[..., Rule]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(thing.__init__ if inspect.isclass(thing) else thing)
    for name, parameter in inspect.signature(thing).parameters.items():
        yield parameter.replace(annotation=hints.get(name, parameter.annotation))


def _makes_rule(thing: Any) -> bool:
    if inspect.isclass(thing):
        return issubclass(thing, Rule) and not inspect.isabstract(thing) and thing not in _WRAPPERS and not issubclass(thing, Edit)
    made = inspect.signature(thing).return_annotation if inspect.isfunction(thing) else None
    return inspect.isclass(made) and issubclass(made, Rule)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
