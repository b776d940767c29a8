"""What a recipe says under `chat_template`: the models' own, a format by name, or a template as it is written."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import unknown
from ..weights.json_file import parse_json, read_json
from .chat_formats import FORMATS
from .chat_syntax import check_syntax
from .recipe import Recipe
from .vocabulary_of import folder_of


def template_of(recipe: Recipe) -> str | None:
    """The template that the result shall have, or None where the recipe leaves the reference's.

    `auto` is the one that most of the models have, the reference's where several are equally frequent; None where no model has one.

    Raises:
        RecipeError: a name that stands for no format, or a template that is none; the message gives the line.
    """
    told = recipe.chat_template
    if told is None or told in FORMATS:
        return FORMATS.get(told) if told else None
    if told == "auto":
        return _most_frequent(recipe)
    place = recipe.chat_place or recipe.place
    if "{{" in told or "{%" in told:
        check_syntax(told, place)
        return told
    raise place.error(f"chat_template: {unknown('chat format', told, ['auto', *FORMATS])}; a template of your own holds {{{{ or {{%.")


def template_notes(recipe: Recipe) -> tuple[str, ...]:
    """A word where `auto` finds nothing: the result has no chat template."""
    if recipe.chat_template != "auto" or _most_frequent(recipe):
        return ()
    return (f"{recipe.chat_place or recipe.place}: chat_template is auto, and no model has a chat template, so the result has none.",)


def with_template(recipe: Recipe, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The tokenizer files with the template where these files keep theirs.

    That is `chat_template.jinja` if there is one, else `tokenizer_config.json`; `chat_template.json` follows if it is there. Of
    several named templates the one called default is replaced.
    """
    found, template = dict(files), template_of(recipe)
    if template is None:
        return found
    config = parse_json(found["tokenizer_config.json"], "tokenizer_config.json") if "tokenizer_config.json" in found else {}
    if "chat_template.json" in found:
        found["chat_template.json"] = _bytes({"chat_template": template})
    if "chat_template.jinja" in found:
        found["chat_template.jinja"] = template.encode()
        config.pop("chat_template", None)
    else:
        config["chat_template"] = _replaced(config.get("chat_template"), template)
    return {**found, "tokenizer_config.json": _bytes(config)} if config else found


def own_template(folder: Path) -> str | None:
    """The chat template that a model's folder holds, the default one of several."""
    if (folder / "chat_template.jinja").exists():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("tokenizer_config.json", "chat_template.json"):
        told = read_json(folder / name).get("chat_template") if (folder / name).exists() else None
        if isinstance(told, list):
            told = next((entry["template"] for entry in told if entry.get("name") == "default"), None)
        if told:
            return told
    return None


def _most_frequent(recipe: Recipe) -> str | None:
    order = [recipe.reference, *(model for model in recipe.models if model != recipe.reference)]
    folders = [folder for model in order if (folder := folder_of(recipe, model))]
    found = Counter(template.strip() for folder in folders if (template := own_template(folder)))
    return found.most_common(1)[0][0] if found else None


def _replaced(old: Any, template: str) -> Any:
    if not isinstance(old, list):
        return template
    return [{"name": "default", "template": template}, *(entry for entry in old if entry.get("name") != "default")]


def _bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
