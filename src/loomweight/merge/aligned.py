"""The models of a recipe in the coordinates of its reference: what the key `align` does before any rule."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..errors import LoomweightError, UnknownName
from ..weights import Weights, config_of
from .inputs import home, located
from .recipe import Recipe


def aligned(recipe: Recipe, inputs: dict[str, Weights]) -> dict[str, Weights]:
    """Every model but the base (or, without one, the first), lazily, in the coordinates of that one. Nothing is read before a tensor is opened.

    Raises:
        LoomweightError: there is no table for the models, or they do not correspond; the message gives the line of `align`.
    """
    if recipe.align is None:
        return inputs
    from .coordinates import Coordinates, Side  # tracing and matching are not loaded by merges without

    named = ("model", "table", "moving_model", "moving_table")
    how = replace(recipe.align, **{key: _found(recipe, getattr(recipe.align, key)) for key in named})
    coordinates, reference = Coordinates(how), recipe.reference
    sides = {model: Side(weights, _config(recipe, model)) for model, weights in inputs.items()}
    drops: Callable[[str], bool] = recipe.drops
    try:
        return {model: side.weights if model == reference else coordinates.bring(side, sides[reference], drops) for model, side in sides.items()}
    except LoomweightError as error:
        raise type(error)(f"{recipe.align_place}: align: {error}") from error


def align_notes(recipe: Recipe, inputs: Mapping[str, Weights]) -> tuple[str, ...]:
    """What `align` does, in a sentence."""
    if recipe.align is None:
        return ()
    ways = {"weights": "weight matching", "activations": "activation matching", "ot": "optimal transport", "depth": "cross-layer alignment"}
    others = [model for model in inputs if model != recipe.reference]
    axes = recipe.align.table or (f"tracing {recipe.align.model}" if recipe.align.model else f"the family of {recipe.reference}")
    verb = "are" if len(others) > 1 else "is"
    return (f"{recipe.align_place}: {', '.join(others)} {verb} first aligned to {recipe.reference} by {ways[recipe.align.method]}; axes by {axes}.",)


def _found(recipe: Recipe, name: str | None) -> str | None:
    """A path, looked for where models are; `module:factory` stays."""
    return name if name is None or ":" in name else located(recipe, name)


def _config(recipe: Recipe, model: str) -> Mapping[str, object] | None:
    """The model's `config.json`; an earlier document's result has that of its reference."""
    try:
        return config_of(home(recipe, model))
    except UnknownName:
        return None
