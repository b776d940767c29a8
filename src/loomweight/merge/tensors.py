"""The tensors of a result over its inputs: without those that the recipe drops, and with advice where the inputs hold different ones."""

import re
from collections.abc import Iterable, Mapping

import torch

from ..errors import NamesDiffer, unknown
from ..weights import Weights
from ..weights.names import listed, matches
from ..weights.spec import spans
from .layout import Layout
from .recipe import Recipe
from .slots import Slot, slots
from .spelled_out import spelled_out
from .vocabulary_tensors import embedding, vocabulary_tensors

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
_MOST = 4


def tensors(recipe: Recipe, inputs: Mapping[str, Weights]) -> list[Slot]:
    """Every tensor of the result; see `slots`.

    Raises:
        NamesDiffer: the inputs hold different tensors; the message says which could be dropped.
        RecipeError: a pattern of `drop` matches nothing, or everything.
    """
    check_drop(recipe, inputs)
    twice = spelled_out(recipe.models, inputs)
    layouts = {model: Layout.of(name for name in inputs[model].names if name not in twice and not recipe.drops(name)) for model in recipe.models}
    try:
        return slots(recipe, layouts)
    except NamesDiffer as error:
        raise NamesDiffer(f"{error}{_advice(layouts, {model: inputs[model] for model in recipe.models})}") from error


def check_drop(recipe: Recipe, inputs: Mapping[str, Weights]) -> None:
    """Raise `RecipeError` where a pattern of `drop` matches no tensor of any model, or the patterns leave nothing."""
    names = dict.fromkeys(name for model in recipe.models for name in inputs[model].names)
    for pattern, place in recipe.drop.items():
        if not any(matches(pattern, name) for name in names):
            place.refuse(f"drop: {unknown('tensor that matches', pattern, _short(names))}.")
    if recipe.drop and all(recipe.drops(name) for name in names):
        next(iter(recipe.drop.values())).refuse("drop leaves no tensor to merge.")


def dropped_notes(recipe: Recipe, inputs: Mapping[str, Weights]) -> list[str]:
    """What `drop` leaves out, and which models hold it, in words."""
    found: dict[str, list[str]] = {}
    for model in recipe.models:
        for name in filter(recipe.drops, inputs[model].names):
            found.setdefault(_NUMBER.sub("*", name), []).append(model)
    return [f"drop leaves out {pattern!r}, held by {', '.join(dict.fromkeys(models))}." for pattern, models in found.items()]


def copied(weights: Weights, one: str, other: str) -> bool:
    """True where two tensors of a set have the same entries; reads both."""
    if weights.spec[one] != weights.spec[other]:
        return False
    a, b = weights.open(one), weights.open(other)
    return all(torch.equal(a(lo, hi), b(lo, hi)) for lo, hi in spans(weights.spec[one].numel))


def _short(names: Iterable[str]) -> list[str]:
    """Names that differ in numbers alone, once."""
    return list(dict.fromkeys(_NUMBER.sub("*", name) for name in names))


def _advice(layouts: Mapping[str, Layout], inputs: Mapping[str, Weights]) -> str:
    """What can be done about tensors that only some of the models hold."""
    held = [set(layout.names) for layout in layouts.values()]
    apart = set.union(*held) - set.intersection(*held)
    outputs = {name for weights in inputs.values() for name in vocabulary_tensors(weights) if name in apart and name != embedding(weights)}
    advice = [_of_output(name, inputs) for name in sorted(outputs)]
    others = _short(sorted(apart - outputs))
    if 0 < len(others) <= _MOST:
        advice.append(f"Where loading makes them anew (position ids and the like), leave them out of all models: `drop: {others}`.")
    return "".join(f" {words}" for words in advice)


def _of_output(name: str, inputs: Mapping[str, Weights]) -> str:
    """An output layer that some of the models have and others do not: a copy of the embedding, or weights of its own."""
    holders = {model: embedding(weights) for model, weights in inputs.items() if name in weights}
    own = [model for model, owner in holders.items() if owner is None or not copied(inputs[model], name, owner)]
    if not own:
        owner = next(iter(holders.values()))
        words = f"{name!r} of {listed(holders)} is an exact copy of {owner!r}, which the others share: `drop: [{name}]` leaves the copy out"
        return f"{words}; let base_model be one of the others, whose config says so."
    return f"{name!r} of {listed(own)} is not the embedding, so it cannot be dropped: save the other models with an output layer of their own (untied)."
