"""How a recipe names a model: path[@revision][+adapter], or the same as a mapping."""

from .fields import fields, required, shown, word
from .marks import Item


def reference(item: Item) -> str:
    """A model as one string, however it is written.

    Raises:
        RecipeError: several adapters or revisions, or a kind of value that names no model.
    """
    if isinstance(item.value, dict):
        return _from_mapping(item)
    if not isinstance(item.value, str | int | float) or isinstance(item.value, bool):
        item.place.refuse(f"a model is named by a path, a hub id or another document's name, found {shown(item)}.")
    return _checked(word(item, "model"), item)


def _from_mapping(item: Item) -> str:
    told = fields(item, "model", ("model", "lora", "override_architecture"))
    if "override_architecture" in told:
        told["override_architecture"].place.refuse("override_architecture is not needed: tensors speak for themselves; remove it.")
    parts = [_path(required(told, "model", item, "model"))] + ([_path(told["lora"])] if "lora" in told else [])
    return _checked("+".join(parts), item)


def _path(item: Item) -> str:
    if not isinstance(item.value, dict):
        return word(item, "model")
    told = fields(item, "model", ("path", "revision"))
    path = word(required(told, "path", item, "model"), "path")
    return f"{path}@{word(told['revision'], 'revision')}" if "revision" in told else path


def _checked(name: str, item: Item) -> str:
    if name.count("+") > 1 or any(part.count("@") > 1 or not part.strip() for part in name.split("+")):
        item.place.refuse(f"the model {name!r} must read path[@revision][+adapter], with at most one of each.")
    return name
