"""The inputs of a merge over one vocabulary: what `tokenizer` and `tokenizer_source` of a recipe do to the weights."""

from collections.abc import Mapping

from ..errors import LoomweightError
from ..weights import Weights
from ..weights.names import listed
from .inputs import opener
from .recipe import Recipe
from .slots import Slot
from .tensors import tensors
from .token_choice import TokenChoice
from .vocabulary import Vocabulary
from .vocabulary_of import needed, outcome
from .vocabulary_rows import Knowledge, Rows, tables
from .vocabulary_tensors import embedding, rows_of, vocabulary_tensors
from .vocabulary_weights import over


def unite(recipe: Recipe, inputs: dict[str, Weights]) -> dict[str, Weights]:
    """The inputs with every embedding, output layer and output bias over the vocabulary of the result.

    A model whose rows already are where they belong is handed on untouched. The result has as many rows as the model whose
    tokenizer it takes, or more where tokens are added; rows beyond the tokens are kept.

    Raises:
        RecipeError: a model has no tokenizer or no embedding, or a token is to come from where it is not.
    """
    choice = recipe.tokenizer
    if choice is None:
        return inputs
    made = outcome(recipe)
    vocabularies = {model: needed(recipe, model) for model in recipe.models}
    donors = _donors(recipe, choice)
    givers = {**inputs, **donors}
    vocabularies |= {model: needed(recipe, model) for model in donors}
    size = _size(made.vocabulary, givers.get(made.model), choice)
    found: dict[str, dict[str, Rows]] = {model: {} for model in inputs}
    for slot in _slots(recipe, inputs, choice):
        for model, table in _tables(slot, givers, vocabularies, made.vocabulary, size, choice).items():
            owner = inputs[model].ties.get(slot.name, slot.name)
            found[model][owner] = found[model].get(owner, table) if owner != slot.name else table
    return {model: over(weights, tables_, givers) if (tables_ := found[model]) else weights for model, weights in inputs.items()}


def notes(recipe: Recipe, inputs: Mapping[str, Weights]) -> tuple[str, ...]:
    """What `unite` does, in words: how many tokens and rows, what is added, which tokens nobody knows. `inputs` as they were."""
    choice = recipe.tokenizer
    if choice is None:
        return ()
    made = outcome(recipe)
    size = _size(made.vocabulary, inputs.get(made.model), choice)
    count, fresh = len(made.vocabulary.ids), len(made.fresh)
    added = f", {fresh} added, such as {listed(made.fresh, 3)}" if fresh else ""
    found = [f"the vocabulary has {count} tokens in {size} rows: {count - fresh} numbered as in {made.model}{added}."]
    known = {token for model in recipe.models for token in needed(recipe, model).within(_rows(inputs[model]))}
    told = {token for token, source in choice.tokens.items() if source.kind != "default"}
    if lost := [token for token in made.vocabulary.ids if token not in known and token not in told]:
        found.append(f"no model knows {listed(lost)}: {'its row is' if len(lost) == 1 else 'their rows are'} zero.")
    return tuple(found)


def _rows(weights: Weights) -> int:
    name = embedding(weights)
    return rows_of(weights, name) if name else 0


def _donors(recipe: Recipe, choice: TokenChoice) -> dict[str, Weights]:
    """Models of which single rows are taken and nothing else."""
    wanted = {told.model: None for told in choice.tokens.values() if told.model and told.model not in recipe.models}
    found = {}
    for model in wanted:
        if model in recipe.earlier:
            choice.place.refuse(f"rows are taken from {model!r}, a result that is not merged here; add it to the models.")
        try:
            found[model] = opener(recipe)(model)
        except LoomweightError as error:
            raise type(error)(f"{choice.place}: {error}") from error
    return found


def _size(result: Vocabulary, source: Weights | None, choice: TokenChoice) -> int:
    """How many rows the result has: no fewer than the model whose tokenizer it takes."""
    rows = max(result.size, _rows(source) if source is not None else 0)
    return rows if choice.multiple is None else -(-rows // choice.multiple) * choice.multiple


def _slots(recipe: Recipe, inputs: Mapping[str, Weights], choice: TokenChoice) -> list[Slot]:
    """The tensors of the result that have a row for every token."""
    names = {model: set(vocabulary_tensors(weights)) for model, weights in inputs.items()}
    for model in recipe.models:
        if not names[model]:
            choice.place.refuse(f"the recipe speaks of tokens, and no tensor of {model!r} looks like an embedding (embed_tokens, wte, ...).")
    found = []
    for slot in tensors(recipe, inputs):
        has = [name in names[model] for model, name in zip(slot.part.models, slot.names, strict=True)]
        if any(has) and not all(has):
            model = slot.part.models[has.index(False)]
            shape = list(inputs[model].spec[slot.name].shape)
            choice.place.refuse(f"tensor {slot.name!r} of {model!r} has shape {shape}, not a row for each row of its embedding, as in the other models.")
        found += [slot] if all(has) else []
    return found


def _tables(
    slot: Slot, givers: Mapping[str, Weights], vocabularies: Mapping[str, Vocabulary], result: Vocabulary, size: int, choice: TokenChoice
) -> dict[str, Rows]:
    """The tables of the models whose rows change."""
    name = slot.name
    merged = [Knowledge(model, vocabularies[model], rows_of(givers[model], name)) for model in slot.part.models]
    others = [model for model in givers if model not in slot.part.models and name in givers[model]]
    donors = [Knowledge(model, vocabularies[model], rows_of(givers[model], name)) for model in others]
    made = tables(merged, donors, result, size, choice, slot.base)
    return {model.name: table for i, (model, table) in enumerate(zip(merged, made, strict=True)) if not table.unchanged(i, model.rows)}
