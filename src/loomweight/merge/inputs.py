"""The models that a recipe names: where they are, and their weights."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from ..errors import LoomweightError, UnknownName
from ..weights import Weights
from ..weights.adapter import apply_adapter
from ..weights.load import load
from .recipe import Recipe


def located(recipe: Recipe, model: str) -> str:
    """What to hand to `load` for a model.

    A relative path starts in the working folder, as in mergekit; where it leads nowhere, in the folder of the recipe's file.
    Of `base+adapter` each part is looked for alone. Anything else (a hub id) stays as it is.
    """
    if _here(model) or recipe.folder is None:
        return model
    if _here(recipe.folder / model):
        return str(recipe.folder / model)
    base, plus, adapter = model.rpartition("+")
    return f"{located(recipe, base)}+{located(recipe, adapter)}" if plus and base else model


def home(recipe: Recipe, model: str) -> str:
    """Where the side files of a model are: its own folder without an adapter, or for another document's result its reference's."""
    base = model.partition("+")[0]
    earlier = recipe.earlier.get(model) or recipe.earlier.get(base)
    if earlier:
        return home(earlier, earlier.reference)
    found = located(recipe, model)
    return found if "+" not in model or _here(found) else located(recipe, base)


def adapter_home(recipe: Recipe, model: str) -> str | None:
    """Where the adapter of `base+adapter` is, or None for a model without one."""
    _, plus, adapter = model.partition("+")
    return located(recipe, adapter) if plus and not _here(located(recipe, model)) else None


def opener(recipe: Recipe) -> Callable[[str], Weights]:
    """Opens what a recipe names, such as the evidence in its parameters; each once."""
    return cache(lambda name: load(located(recipe, name), label=name))


def opened(recipe: Recipe, made: Mapping[str, Weights] | None = None, names: Iterable[str] = ()) -> dict[str, Weights]:
    """Model -> its weights, for all that the recipe merges; headers only.

    Args:
        made: the results of other documents, by name.
        names: the names of all documents, for messages.

    Raises:
        LoomweightError: a model is not there or broken; the message gives the line that names it.
    """
    found: dict[str, Weights] = {}
    for model, place in recipe.models.items():
        try:
            found[model] = _open(recipe, model, made or {})
        except UnknownName as error:
            others = ", ".join(repr(name) for name in names if name != recipe.name)
            raise UnknownName(f"{place}: {error}{f' Documents of this file: {others}.' if others else ''}") from error
        except LoomweightError as error:
            raise type(error)(f"{place}: {error}") from error
    return found


def _open(recipe: Recipe, model: str, made: Mapping[str, Weights]) -> Weights:
    if model in made:
        return made[model]
    base, plus, adapter = model.partition("+")
    if plus and base in made:
        return apply_adapter(made[base], located(recipe, adapter), label=model)
    return load(located(recipe, model), label=model)


def _here(path: str | Path) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, with a zero byte, the home of nobody
        return False
