"""From YAML to `Recipe`: every key known, every kind right, or an error with the line and the nearest name."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import BrokenFile, RecipeError, UnknownName, unknown
from .alignment import read_how
from .dtypes import dtype_of
from .fields import fields, one_of, required, several, shown, whole, word
from .marks import Item, Place, Search, documents
from .recipe import NONE, Module, Recipe, Slice, Source
from .references import reference
from .settings import Settings, read_settings
from .token_choice import token_choice

PARTS = ("models", "slices", "modules")
KEYS = (
    *("merge_method", *PARTS, "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source", "tokenizer"),
    *("chat_template", "name", "seed", "integers", "drop", "align"),
)


@dataclass(frozen=True)
class Draft:
    """A recipe file as it was written, whose `!search` marks may still be open.

    >>> draft = Draft.of("merge_method: linear\\nmodels: [{model: a, parameters: {weight: !search [0, 1]}}]")
    >>> list(draft.searches)
    ['models[0].parameters.weight']
    >>> [recipe] = draft.recipes({"models[0].parameters.weight": 0.25})
    >>> recipe.modules[""].slices[0].sources[0].parameters["weight"].conditions[0].value
    0.25
    """

    items: tuple[Item, ...]
    text: str
    folder: Path | None = None

    @staticmethod
    def of(text: str, file: str = "", folder: Path | None = None) -> "Draft":
        """A draft from YAML text; `file` is for messages, `folder` is where relative paths may start from."""
        items = tuple(documents(text, file))
        if not items:
            raise RecipeError(f"{file or 'the recipe'} is empty; a recipe needs at least merge_method and models.")
        return Draft(items, text, folder)

    @property
    def searches(self) -> dict[str, Search]:
        """Path of every `!search` mark, such as `models[0].parameters.weight`; with several documents it starts with `0.`, `1.`, ..."""
        found: dict[str, Search] = {}
        for path, item in self._leaves():
            if isinstance(item.value, Search):
                found[path] = item.value
        return found

    def recipes(self, values: Mapping[str, Any] | None = None) -> list[Recipe]:
        """The recipe of every document, with `values` in the place of the marks.

        Raises:
            RecipeError: the file has a mistake, or a mark without a value; the message gives the line.
            UnknownName: a value for a path that holds no mark.
        """
        given = dict(values or {})
        marks = self.searches
        for path in given:
            if path not in marks:
                raise unknown("!search mark", path, marks)

        def fill(path: str, item: Item) -> Item:
            if not isinstance(item.value, Search):
                return item
            if path not in given:
                item.place.refuse("!search is for `loomweight tune`; put a value here to merge.")
            return replace(item, value=given[path])

        found = [_recipe(item.changed(fill, self._root(i))) for i, item in enumerate(self.items)]
        return [replace(recipe, text=self.text, folder=self.folder) for recipe in found]

    def _root(self, index: int) -> str:
        return str(index) if len(self.items) > 1 else ""

    def _leaves(self) -> list[tuple[str, Item]]:
        return [leaf for i, item in enumerate(self.items) for leaf in item.walk(self._root(i))]


def read_draft(path: str | Path) -> Draft:
    """The recipe file at a path.

    Raises:
        UnknownName: there is no such file.
        BrokenFile: it is not text.
    """
    path = Path(path)
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises where a name is too long
        near = [entry.name for entry in path.parent.iterdir()] if os.path.isdir(path.parent) else []  # noqa: PTH112
        raise UnknownName(f"{path}: {unknown('recipe file', path.name, [name for name in near if name.endswith(('.yaml', '.yml'))])}.")
    try:
        return Draft.of(path.read_text("utf-8"), path.name, path.absolute().parent)
    except UnicodeDecodeError as error:
        raise BrokenFile(f"{path}: not a text file in UTF-8 (byte {error.start}); a recipe is YAML.") from error
    except OSError as error:
        raise BrokenFile(f"{path}: cannot be read: {error.strerror}.") from error


def read_recipes(path: str | Path) -> list[Recipe]:
    """The recipe of every document in a YAML file; see `Draft.recipes`."""
    return read_draft(path).recipes()


def _recipe(item: Item) -> Recipe:
    found = fields(item, "a recipe", KEYS)
    method = required(found, "merge_method", item, "the recipe")
    seed = whole(found["seed"], "seed", 0) if "seed" in found else 0
    dtype = found.get("out_dtype", found.get("dtype"))
    for key in ("dtype", "out_dtype"):
        if key in found:
            dtype_of(word(found[key], key), found[key].place)
    return Recipe(
        method=word(method, "merge_method"),
        modules=_modules(item, found),
        base_model=reference(found["base_model"]) if "base_model" in found else None,
        parameters=read_settings(found["parameters"]) if "parameters" in found else NONE,
        place=item.place,
        method_place=method.place,
        name=_name(found.get("name")),
        dtype=word(dtype, "dtype") if dtype else None,
        tokenizer=token_choice(found),
        chat_template=word(found["chat_template"], "chat_template") if "chat_template" in found else None,
        chat_place=found["chat_template"].place if "chat_template" in found else None,
        drop=_patterns(found["drop"]) if "drop" in found else {},
        integers=one_of(found["integers"], "integers", ("equal", "first")) if "integers" in found else "equal",  # type: ignore[arg-type]
        seed=seed,
        align=read_how(found["align"], seed) if "align" in found else None,
        align_place=found["align"].place if "align" in found else None,
        notes=tuple(_notes(found)),
    )


def _name(item: Item | None) -> str | None:
    if item is None:
        return None
    name = word(item, "name")
    if "/" in name or "\\" in name or "+" in name or "@" in name or name in (".", ".."):
        item.place.refuse(f"the name {name!r} must be a plain word: it names a folder and is used like a model.")
    return name


def _patterns(item: Item) -> dict[str, Place]:
    return {word(child, "a pattern of drop"): child.place for child in several(item, "drop", lambda child: child)}


def _modules(item: Item, found: dict[str, Item]) -> dict[str, Module]:
    given = [key for key in PARTS if key in found]
    if len(given) != 1:
        item.place.refuse(f"a recipe has exactly one of models, slices and modules; found {' and '.join(given) or 'none'}.")
    if given == ["modules"]:
        modules = found["modules"]
        if not isinstance(modules.value, dict) or not modules.value:
            modules.place.refuse(f"modules must be a mapping of names to models or slices, found {shown(modules)}.")
        return {name: _module(child, name) for name, child in modules.value.items()}
    return {"": _parts(item, found, NONE)}


def _module(item: Item, name: str) -> Module:
    found = fields(item, f"module {name!r}", ("models", "slices", "parameters"))
    if ("models" in found) == ("slices" in found):
        item.place.refuse(f"module {name!r} must have either models or slices.")
    return _parts(item, found, read_settings(found["parameters"]) if "parameters" in found else NONE)


def _parts(item: Item, found: dict[str, Item], parameters: Settings) -> Module:
    if "models" in found:
        models = found["models"]
        sources = several(models, "models", _model)
        return Module((Slice(sources, None, NONE, models.place),), parameters, item.place, "models")
    return Module(several(found["slices"], "slices", _slice), parameters, item.place, "slices")


def _slice(item: Item) -> Slice:
    found = fields(item, "a slice", ("sources", "base_model", "residual_weight", "parameters"))
    if "residual_weight" in found:
        found["residual_weight"].place.refuse("residual_weight does nothing in mergekit and is not known here; remove it.")
    sources = several(required(found, "sources", item, "a slice"), "sources", _source)
    lengths = {source.layers[1] - source.layers[0] for source in sources if source.layers}
    if len(lengths) > 1:
        ranges = ", ".join(f"{list(source.layers)} of {source.model!r}" for source in sources if source.layers)
        item.place.refuse(f"the sources of a slice must have equally many layers; found {ranges}.")
    base = reference(found["base_model"]) if "base_model" in found else None
    return Slice(sources, base, read_settings(found["parameters"]) if "parameters" in found else NONE, item.place)


def _model(item: Item) -> Source:
    found = fields(item, "a model", ("model", "parameters"))
    model = reference(required(found, "model", item, "a model"))
    return Source(model, None, read_settings(found["parameters"]) if "parameters" in found else NONE, item.place)


def _source(item: Item) -> Source:
    found = fields(item, "a source", ("model", "layer_range", "parameters"))
    model = reference(required(found, "model", item, "a source"))
    layers = _range(required(found, "layer_range", item, "a source"))
    return Source(model, layers, read_settings(found["parameters"]) if "parameters" in found else NONE, item.place)


def _range(item: Item) -> tuple[int, int]:
    if not isinstance(item.value, list) or len(item.value) != 2:
        item.place.refuse(f"layer_range must be [first, end], found {shown(item)}.")
    first, end = (whole(child, "a layer number", 0) for child in item.value)
    if first >= end:
        hint = f"; did you mean [{end}, {first}]?" if first > end else ""
        item.place.refuse(f"layer_range [{first}, {end}] holds no layer: it runs from the first up to, not including, the end{hint}")
    return first, end


def _notes(found: dict[str, Item]) -> list[str]:
    if "dtype" not in found:
        return []
    stored = found.get("out_dtype", found["dtype"])
    return [f"{found['dtype'].place}: arithmetic is in float32 whatever dtype says; the result is stored as {stored.plain()}."]
