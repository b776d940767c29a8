"""Planning: every check that headers allow, then tensors grouped by what is done to them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..weights import Weights
from .checks import check_dtypes, check_part, check_shapes, shared
from .find_method import find_method
from .method import Numbers
from .plan import Group, Plan, no_path
from .recipe import Recipe
from .resolve import Resolver
from .slots import Slot, carried_notes
from .spelled_out import spelled_out
from .tensors import dropped_notes, tensors


def plan(recipe: Recipe, inputs: Mapping[str, Weights], load: "Callable[[str], Weights] | None" = None) -> Plan:
    """Plan a recipe over the weights of its models.

    Args:
        inputs: model, as the recipe names it -> its weights.
        load: opens paths that stand in parameters.

    Raises:
        RecipeError, NamesDiffer, ShapesDiffer, TiesDiffer: the recipe or the models do not fit; the message says where.

    >>> import torch
    >>> from loomweight.merge import Draft
    >>> [recipe] = Draft.of("{merge_method: linear, models: [{model: a}, {model: b}], parameters: {weight: 1}}").recipes()
    >>> sets = {"a": Weights.of({"w": torch.tensor([1.0])}), "b": Weights.of({"w": torch.tensor([3.0])})}
    >>> plan(recipe, sets).weights()["w"]
    tensor([2.])
    """
    method = find_method(recipe.method, recipe.method_place)
    resolver = Resolver(recipe, method)
    twice = {alias: owner for alias, owner in spelled_out(recipe.models, inputs).items() if not recipe.drops(alias)}
    found = tensors(recipe, inputs)
    for part in {id(slot.part): slot.part for slot in found}.values():
        check_part(recipe, method, part, len(resolver.order(part)))
    resolver.refuse_idle(found)
    for slot in found:
        check_shapes(slot, inputs)
        check_dtypes(slot, inputs, recipe)
    ties = shared(found, inputs)
    groups, notes = _groups(found, resolver, ties)
    notes += [*dropped_notes(recipe, inputs), *carried_notes(found)]
    notes += [f"{alias} is left out: it is a second name of {owner}, and some of the models do not store it." for alias, owner in twice.items()]
    result = Plan(recipe, method, MappingProxyType(dict(inputs)), groups, ties, (*recipe.notes, *resolver.notes, *notes), load or no_path)
    for group in groups:
        result.rule(group)
    return result


def check_recipe(recipe: Recipe) -> None:
    """Raise `RecipeError` for a mistake that shows without the models: an unknown method or parameter, a value out of range."""
    Resolver(recipe, find_method(recipe.method, recipe.method_place))


def _groups(found: list[Slot], resolver: Resolver, ties: Mapping[str, str]) -> tuple[tuple[Group, ...], list[str]]:
    tables: dict[object, tuple[Numbers, Slot, dict[str, tuple[str, ...]]]] = {}
    keys: dict[str, object] = {}
    for slot in found:
        numbers, order = resolver.numbers(slot), resolver.order(slot.part)
        base = slot.part.base_model if resolver.method.base in ("origin", "optional") else None
        models = tuple(slot.part.models[i] for i in order)
        keys[slot.name] = key = (numbers.key, models, base)
        if slot.name in ties:
            continue
        names = tuple(slot.names[i] for i in order) + ((slot.names[slot.part.models.index(base)],) if base else ())
        tables.setdefault(key, (numbers, slot, {}))[2][slot.name] = names
    groups = tuple(
        Group(key[1], key[2], numbers, names)  # type: ignore[index]
        for key, (numbers, _, names) in tables.items()
    )
    notes = [f"{alias} shares its storage with {owner}, whose numbers hold for both." for alias, owner in ties.items() if keys[alias] != keys[owner]]
    return groups, notes
