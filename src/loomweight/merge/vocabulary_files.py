"""The side files of a merge whose vocabulary or chat template the recipe changes."""

import json
from pathlib import Path
from typing import Any

from ..weights.json_file import parse_json, read_json
from .chat_template import template_of
from .plan import Plan
from .recipe import Recipe
from .tokenizer_files import read_vocabulary
from .tokenizer_numbers import renumbered
from .tokenizer_of_result import Files, tokenizer_files, without_tokenizer
from .vocabulary_of import earlier, folder_of, outcome, united

_CONFIGS = ("config.json", "generation_config.json")


def with_vocabulary(plan: Plan, files: Files) -> dict[str, bytes]:
    """The side files with the tokenizer that the recipe asks for, and configs that number its tokens right.

    Raises:
        RecipeError: a special token of the config is not in the vocabulary of the result.
    """
    recipe = plan.recipe
    if recipe.tokenizer is None and recipe.chat_template is None and not earlier(recipe, recipe.reference):
        return dict(files)
    found = {**without_tokenizer(files), **tokenizer_files(recipe)}
    return {**found, **_configs(recipe, found)}


def check_vocabulary(plan: Plan) -> None:
    """A check of a plan: everything that the side files will say about tokens can be said.

    Raises:
        RecipeError: a special token of the config is not in the vocabulary of the result, or there is no such chat template.
    """
    template_of(plan.recipe)
    folder = folder_of(plan.recipe, plan.recipe.reference)
    if folder is not None:
        _configs(plan.recipe, {name: (folder / name).read_bytes() for name in _CONFIGS if (folder / name).exists()})


def _configs(recipe: Recipe, files: Files) -> dict[str, bytes]:
    """`config.json` and `generation_config.json` over the vocabulary of the result, where that is not their own."""
    last = united(recipe)
    folder = folder_of(recipe, recipe.reference)
    old = read_vocabulary(folder) if last and folder else None
    if last is None or old is None:
        return {}
    made = outcome(last)
    source, place = folder_of(last, made.model), last.tokenizer.place if last.tokenizer else last.place
    if all(made.vocabulary.ids.get(token) == number for token, number in old.ids.items()):
        return {}
    changed = {}
    for name in [name for name in _CONFIGS if name in files]:
        config = renumbered(parse_json(files[name], name), old, made.vocabulary, _own(source, name), place)
        changed[name] = (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
    return changed


def _own(folder: Path | None, name: str) -> dict[str, Any]:
    return read_json(folder / name) if folder and (folder / name).exists() else {}
