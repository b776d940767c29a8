"""The vocabulary of each model that a recipe names, and the one that its result will have."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LoomweightError
from ..weights.locate import locate
from .inputs import adapter_home, home
from .recipe import Recipe
from .tokenizer_files import read_vocabulary
from .vocabulary import PLAIN, Vocabulary


@dataclass(frozen=True)
class Outcome:
    """The vocabulary of a result.

    Args:
        model: the model whose tokenizer files it takes after.
        fresh: token -> how it is matched, for the tokens that these files lack; None for a piece of another model's texts.
    """

    vocabulary: Vocabulary
    model: str
    fresh: Mapping[str, Mapping[str, Any] | None]


def folder_of(recipe: Recipe, model: str) -> Path | None:
    """The folder with a model's config and tokenizer, or None for weights without one."""
    try:
        found = locate(home(recipe, model))
    except LoomweightError:
        return None
    if found.is_dir():
        return found
    return found.parent if any((found.parent / name).exists() for name in ("config.json", "tokenizer.json")) else None


def own_tokenizer(recipe: Recipe, model: str) -> Path | None:
    """The folder of a model's adapter where that holds a tokenizer, and the recipe speaks of tokens; else None."""
    home_ = adapter_home(recipe, model) if recipe.tokenizer is not None else None
    try:
        found = locate(home_) if home_ else None
    except LoomweightError:
        return None
    return found if found and found.is_dir() and read_vocabulary(found) is not None else None


def tokenizer_folder(recipe: Recipe, model: str) -> Path | None:
    """The folder whose tokenizer a model has: its adapter's own, or else the model's."""
    return own_tokenizer(recipe, model) or folder_of(recipe, model)


def earlier(recipe: Recipe, model: str) -> Recipe | None:
    """The document whose result a model is, with or without an adapter on it."""
    return recipe.earlier.get(model) or recipe.earlier.get(model.partition("+")[0])


def united(recipe: Recipe) -> Recipe | None:
    """The document that decides the vocabulary of a result: the recipe's own, or the one whose result it takes after; None for none."""
    if recipe.tokenizer is not None:
        return recipe
    document = earlier(recipe, recipe.reference)
    return united(document) if document else None


def vocabulary_of(recipe: Recipe, model: str) -> Vocabulary | None:
    """The vocabulary of a model, or None where it has no tokenizer. Of another document's result: the one it will have.

    An adapter's own counts where the recipe speaks of tokens.

    Raises:
        BrokenFile, MissingExtra: its tokenizer cannot be read.
        RecipeError: it is a result whose vocabulary cannot be made.
    """
    if own := own_tokenizer(recipe, model):
        return read_vocabulary(own)
    if (document := earlier(recipe, model)) is not None:
        return outcome(document).vocabulary if document.tokenizer else vocabulary_of(document, document.reference)
    folder = folder_of(recipe, model)
    return read_vocabulary(folder) if folder else None


def needed(recipe: Recipe, model: str) -> Vocabulary:
    """The vocabulary of a model that must have one.

    Raises:
        RecipeError: it has no tokenizer.
    """
    found = vocabulary_of(recipe, model)
    if found is None or not found.ids:
        place = recipe.tokenizer.place if recipe.tokenizer else recipe.place
        place.refuse(f"the recipe speaks of tokens, and model {model!r} has no tokenizer; put tokenizer.json into its folder.")
    return found


def outcome(recipe: Recipe) -> Outcome:
    """The vocabulary that a recipe with `tokenizer` or `tokenizer_source` asks for.

    The tokens of the source keep their numbers. A union goes on with what the other models have besides, model by model in the
    order of the file and by number; then come the tokens that only `tokens` names.

    Raises:
        RecipeError: a model has no tokenizer.
    """
    choice = recipe.tokenizer
    assert choice is not None
    model = recipe.reference if choice.source in ("union", "base") else choice.source
    first = needed(recipe, model)
    fresh: dict[str, Mapping[str, Any] | None] = {}
    known = [needed(recipe, name) for name in recipe.models]
    if choice.source == "union":
        for other in (other for other in known if other is not first):
            fresh |= {token: other.added.get(token) for token, _ in other.ordered if token not in first.ids and token not in fresh}
    for token in choice.tokens:
        if token not in first.ids and fresh.get(token) is None:
            fresh[token] = next((other.added[token] for other in known if token in other.added), PLAIN)
    return Outcome(first.grown(fresh), model, fresh)
