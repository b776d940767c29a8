"""The tokenizer files of a merged folder: those of the model that the recipe says, with the tokens that it adds."""

import json
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from ..weights.json_file import parse_json
from .chat_template import with_template
from .recipe import Recipe
from .side_files import copied
from .tokenizer_files import converted
from .vocabulary import PLAIN
from .vocabulary_of import Outcome, earlier, outcome, own_tokenizer, tokenizer_folder

#: files of a tokenizer that are copied as they are; the second ones say what tokenizer.json says too, and go when that changes
_FILES = ("tokenizer*", "special_tokens_map.json", "chat_template*", "normalizer.json")
_STALE = ("vocab.*", "merges.txt", "*.model", "*.tiktoken", "added_tokens.json")

Files = Mapping[str, bytes]


def without_tokenizer(files: Files) -> dict[str, bytes]:
    """The files that do not belong to a tokenizer."""
    return {name: content for name, content in files.items() if not _any(name, _FILES + _STALE)}


def tokenizer_files(recipe: Recipe) -> dict[str, bytes]:
    """name -> content of the tokenizer of a recipe's result, its chat template included; nothing where the model has none.

    Where tokens are added, `tokenizer.json` says all, and the files of older forms are left out: they would contradict it.
    """
    if recipe.tokenizer is None:
        return with_template(recipe, _files_of(recipe, recipe.reference))
    made = outcome(recipe)
    files = _files_of(recipe, made.model)
    if made.fresh:
        files = _extended(recipe, made, files)
    return with_template(recipe, files)


def _files_of(recipe: Recipe, model: str) -> dict[str, bytes]:
    """The tokenizer files of a model, or those that another document's result will have."""
    if (document := earlier(recipe, model)) is not None and own_tokenizer(recipe, model) is None:
        return tokenizer_files(document)
    folder = tokenizer_folder(recipe, model)
    return {name: content for name, content in copied(folder).items() if _any(name, _FILES + _STALE)} if folder else {}


def _extended(recipe: Recipe, made: Outcome, files: Files) -> dict[str, bytes]:
    kept = {name: content for name, content in files.items() if not _any(name, _STALE)}
    folder = tokenizer_folder(recipe, made.model)
    if "tokenizer.json" in files:
        content = parse_json(files["tokenizer.json"], f"tokenizer.json of {made.model}")
    elif folder is not None:
        content = converted(folder)
    else:
        raise AssertionError("a vocabulary came from nowhere")
    kept["tokenizer.json"] = _bytes(extended(content, made))
    if "tokenizer_config.json" in kept:
        config = parse_json(kept["tokenizer_config.json"], f"tokenizer_config.json of {made.model}")
        if isinstance(told := config.get("added_tokens_decoder"), dict):
            more = {str(made.vocabulary.ids[token]): {"content": token, **how} for token, how in made.fresh.items() if how is not None}
            config["added_tokens_decoder"] = {**told, **more}
        kept["tokenizer_config.json"] = _bytes(config)
    return kept


def extended(content: Mapping[str, Any], made: Outcome) -> dict[str, Any]:
    """The content of a `tokenizer.json` with the fresh tokens.

    The library numbers added tokens anew when it loads a file, after what the model's vocabulary holds; so every token, added
    ones too, is put into that vocabulary with its number. Pieces of other models' texts are there without a merge, or with a
    score that never wins: they have their number, their row and their text, and the reference's text is cut as before.
    """
    model = dict(content["model"])
    model["vocab"] = _scored(model["vocab"], made) if isinstance(model["vocab"], list) else dict(made.vocabulary.ordered)
    told = list(content.get("added_tokens") or [])
    known = {entry["content"] for entry in told}
    for token, how in made.vocabulary.added.items():
        if token not in known:
            told.append({"id": made.vocabulary.ids[token], "content": token, **PLAIN, **how})
    return {**content, "model": model, "added_tokens": sorted(told, key=lambda entry: entry["id"])}


def _scored(vocab: list[list[Any]], made: Outcome) -> list[list[Any]]:
    """A unigram vocabulary: (piece, score) by number, without gaps; what is new is worse than a thousand pieces."""
    score = 1000 * min(-1.0, *(entry[1] for entry in vocab))
    tokens = made.vocabulary.tokens
    return [*vocab, *([tokens.get(number, f"<no token {number}>"), score] for number in range(len(vocab), made.vocabulary.size))]


def _any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
