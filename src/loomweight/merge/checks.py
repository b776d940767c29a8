"""What must hold before any data moves: the right models for the method, equal shapes, dtypes and ties."""

from collections.abc import Mapping

from ..errors import DtypesDiffer, ShapesDiffer, TiesDiffer
from ..weights import Weights
from ..weights.spec import CODED
from .method import Method
from .recipe import Recipe, Slice
from .slots import Slot
from .tensors import copied


def check_part(recipe: Recipe, method: Method, part: Slice, sets: int) -> None:
    """Raise `RecipeError` unless the models of a slice are what the method takes; `sets` is how many the rule would get."""
    if twice := sorted({model for model in part.models if part.models.count(model) > 1}):
        part.place.refuse(f"{twice[0]!r} stands twice among the models that are merged; name each once.")
    if method.base in ("origin", "first") and part.base_model is None:
        recipe.method_place.refuse(f"{method.name} works on differences from a base: add base_model.")
    if method.base != "plain" and part.base_model and part.base_model not in part.models:
        part.place.refuse(f"the base model {part.base_model!r} is not among the sources of this slice; add it with its layer_range.")
    if sets < method.fewest or (method.most is not None and sets > method.most):
        besides = " besides the base" if method.base in ("origin", "optional") and part.base_model else ""
        part.place.refuse(f"{method.name} merges {_wanted(method)}{besides}, found {sets}: {', '.join(part.models)}.")


def _wanted(method: Method) -> str:
    least = "exactly" if method.fewest == method.most else "at least"
    return f"{least} {method.fewest} model{'s' * (method.fewest != 1)}"


def check_shapes(slot: Slot, inputs: Mapping[str, Weights]) -> None:
    """Raise `ShapesDiffer` unless all models hold the tensor in one shape."""
    shapes = {model: inputs[model].spec[name].shape for model, name in zip(slot.part.models, slot.names, strict=True)}
    if len(set(shapes.values())) == 1:
        return
    told = ", ".join(f"{list(shape)} in {model}" for model, shape in shapes.items())
    tails = {shape[1:] for shape in shapes.values()}
    hint = "; if its rows are tokens, say how to unite the vocabularies: `tokenizer_source: union` or `base`" if len(tails) == 1 else ""
    raise ShapesDiffer(f"tensor {slot.name!r} has shapes {told}{hint}.")


def check_dtypes(slot: Slot, inputs: Mapping[str, Weights], recipe: Recipe) -> None:
    """Raise `DtypesDiffer` unless all models hold the tensor in one dtype, or in floating ones and the recipe says which to store."""
    specs = {model: inputs[model].spec[name] for model, name in zip(slot.part.models, slot.names, strict=True)}
    dtypes = {model: spec.dtype for model, spec in specs.items()}
    floating = {spec.averages for spec in specs.values()}
    if len(set(dtypes.values())) == 1 or (recipe.dtype and floating == {True}):
        return
    told = ", ".join(f"{str(dtype).removeprefix('torch.')} in {model}" for model, dtype in dtypes.items())
    whole = "codes of quantised weights" if CODED & set(dtypes.values()) else "integers"
    advice = "say which the result shall have, `dtype: bfloat16` or another" if floating == {True} else f"{whole} are never averaged, convert one"
    raise DtypesDiffer(f"tensor {slot.name!r} has dtypes {told}; {advice}.")


def shared(found: list[Slot], inputs: Mapping[str, Weights]) -> dict[str, str]:
    """alias -> owner in the result, for names that share one tensor in every model. An alias whose owner is not merged stands alone.

    Raises:
        TiesDiffer: they share it in some of the models only.
    """
    names = {slot.name for slot in found}
    new = {(id(slot.part), i, old): slot.name for slot in found for i, old in enumerate(slot.names)}
    result: dict[str, str] = {}
    for slot in found:
        owners = []
        for i, (model, name) in enumerate(zip(slot.part.models, slot.names, strict=True)):
            owner = inputs[model].ties.get(name)
            owners.append(new.get((id(slot.part), i, owner), owner) if owner else None)
        if len(set(owners)) > 1:
            states = ", ".join(f"{'shared' if owner else 'apart'} in {model}" for model, owner in zip(slot.part.models, owners, strict=True))
            raise TiesDiffer(f"tensor {slot.name!r} is {states}; {_ties_advice(slot, inputs)}")
        if owners[0] in names:
            result[slot.name] = owners[0]
    return result


def _ties_advice(slot: Slot, inputs: Mapping[str, Weights]) -> str:
    """What can be done about a tensor that some of the models share with another name: it depends on whether the others hold a copy."""
    pairs = list(zip(slot.part.models, slot.names, strict=True))
    owner = next(owner for model, name in pairs if (owner := inputs[model].ties.get(name)))
    apart = [(model, name) for model, name in pairs if name not in inputs[model].ties]
    own = [model for model, name in apart if owner not in inputs[model] or not copied(inputs[model], name, owner)]
    if not own:
        where = " and ".join(model for model, _ in apart)
        return (
            f"in {where} it is an exact copy of {owner!r}, so nothing is lost without it: leave it out of all models with `drop: [{slot.name}]` "
            f"and take the config of one that shares it (base_model), or save {where} with the two names shared (tie_word_embeddings: true)."
        )
    return (
        f"in {' and '.join(own)} it differs from {owner!r}: save the models that share it with a tensor of its own "
        "(tie_word_embeddings: false), so that all have one."
    )
