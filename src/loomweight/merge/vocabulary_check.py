"""Models that number their tokens differently are not merged row by row unless the recipe says how."""

from collections.abc import Mapping

from ..errors import BrokenFile, MissingExtra, RecipeError
from ..weights import Weights
from .plan import Plan
from .recipe import Recipe
from .tokenizer_files import deciding, same_files
from .tokenizer_pieces import pieces
from .vocabulary import Vocabulary, difference
from .vocabulary_of import earlier, folder_of, vocabulary_of
from .vocabulary_tensors import embedding, rows_of, vocabulary_tensors


def same_vocabularies(plan: Plan) -> None:
    """A check of a plan: without `tokenizer`, all models that give embeddings must number their tokens as the reference does.

    Tokens beyond the rows of a model count as not there. Models whose tokenizers cannot be read are not compared.

    Raises:
        RecipeError: they do not; the message names some of the tokens.
    """
    recipe = plan.recipe
    if recipe.tokenizer is not None:
        return
    models = [model for model in _merged(plan) if model != recipe.reference]
    if not models or recipe.reference not in plan.inputs or embedding(plan.inputs[recipe.reference]) is None:
        return
    for model in models:
        if not _same_files(recipe, model):
            _compare(recipe, model, plan.inputs)


def _merged(plan: Plan) -> list[str]:
    """The models whose vocabulary tensors are read."""
    names = {model: set(vocabulary_tensors(weights)) for model, weights in plan.inputs.items()}
    found: dict[str, None] = {}
    for group in plan.groups:
        for old in group.names.values():
            found |= {model: None for model, name in zip(group.read, old, strict=True) if name in names[model]}
    return list(found)


def _same_files(recipe: Recipe, model: str) -> bool:
    if earlier(recipe, model) or earlier(recipe, recipe.reference):
        return False
    here, there = folder_of(recipe, model), folder_of(recipe, recipe.reference)
    return here is not None and there is not None and (here == there or same_files(here, there))


def _compare(recipe: Recipe, model: str, inputs: Mapping[str, Weights]) -> None:
    reference = recipe.reference
    read = _pieces if all(_only_pieces(recipe, name) for name in (model, reference)) else _tokens
    mine, theirs = read(recipe, model, inputs[model]), read(recipe, reference, inputs[reference])
    if not mine or not theirs or not (apart := difference(mine, theirs)):
        return
    shown = "; ".join(f"{token!r} is {_number(mine, token)} in {model} and {_number(theirs, token)} in {reference}" for token in apart[:3])
    more = f" ({len(apart)} tokens in all)" if len(apart) > 3 else ""
    place = recipe.models.get(model, recipe.place)
    raise RecipeError(
        f"{place}: the tokenizers of {model!r} and {reference!r} differ, so rows of different tokens would be mixed: {shown}{more}. "
        "Say which tokens the result shall have: `tokenizer_source: union` (all) or `tokenizer_source: base` (the reference's)."
    )


def _only_pieces(recipe: Recipe, model: str) -> bool:
    folder = folder_of(recipe, model)
    return folder is not None and not earlier(recipe, model) and deciding(folder).keys().isdisjoint({"tokenizer.json", "vocab.json", "vocab.txt"})


def _pieces(recipe: Recipe, model: str, weights: Weights) -> dict[str, int] | None:
    """What a sentencepiece file says of a model that has nothing else."""
    folder, name = folder_of(recipe, model), embedding(weights)
    path = next((path for name, path in deciding(folder).items() if name.endswith(".model")), None) if folder else None
    try:
        found = Vocabulary(pieces(path)) if path else None
    except BrokenFile:
        return None
    return found.within(rows_of(weights, name)) if found and name else None


def _tokens(recipe: Recipe, model: str, weights: Weights) -> dict[str, int] | None:
    name = embedding(weights)
    try:
        found: Vocabulary | None = vocabulary_of(recipe, model)
    except (BrokenFile, MissingExtra):
        return None
    return found.within(rows_of(weights, name)) if found is not None and name is not None else None


def _number(tokens: Mapping[str, int], token: str) -> str:
    return f"row {tokens[token]}" if token in tokens else "absent"
