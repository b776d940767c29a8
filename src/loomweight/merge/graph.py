"""Several documents of one file: each may use the result of another by its name."""

from collections.abc import Sequence
from dataclasses import replace

from .recipe import Recipe


def in_order(recipes: Sequence[Recipe]) -> list[Recipe]:
    """The documents so that each comes after those it uses, with `earlier` filled in.

    Raises:
        RecipeError: two documents have one name, or documents use each other in a circle.
    """
    by_name = _named(recipes)
    linked: dict[str, Recipe] = {}
    result: list[Recipe] = []
    left = list(recipes)
    while left:
        ready = [recipe for recipe in left if linked.keys() >= set(_uses(recipe, by_name))]
        if not ready:
            circle = "; ".join(f"{recipe.name!r} uses {', '.join(map(repr, _uses(recipe, by_name)))}" for recipe in left)
            left[0].place.refuse(f"documents wait for each other in a circle: {circle}.")
        for recipe in ready:
            result.append(replace(recipe, earlier={name: linked[name] for name in _uses(recipe, by_name)}))
            linked |= {recipe.name: result[-1]} if recipe.name else {}
        left = [recipe for recipe in left if all(recipe is not one for one in ready)]
    return result


def finals(recipes: Sequence[Recipe]) -> list[Recipe]:
    """The documents that no other one uses: what a run writes. Several of them need names.

    Raises:
        RecipeError: there are several, and one has no name to be written under.
    """
    used = {name for recipe in recipes for name in recipe.earlier}
    found = [recipe for recipe in recipes if recipe.name not in used]
    if len(found) > 1 and (nameless := [recipe for recipe in found if recipe.name is None]):
        nameless[0].place.refuse(f"{len(found)} documents are written, each to a folder of its name, and this one has none; add `name:`.")
    return found


def _named(recipes: Sequence[Recipe]) -> dict[str, Recipe]:
    by_name: dict[str, Recipe] = {}
    for recipe in recipes:
        if recipe.name in by_name:
            recipe.place.refuse(f"the name {recipe.name!r} stands twice, first at {by_name[recipe.name].place}.")
        if recipe.name:
            by_name[recipe.name] = recipe
    return by_name


def _uses(recipe: Recipe, by_name: dict[str, Recipe]) -> list[str]:
    named = [*recipe.models, *recipe.donors]
    return list(dict.fromkeys(name for model in named for name in (model, model.partition("+")[0]) if name in by_name))
