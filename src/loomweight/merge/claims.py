"""Which tensors a module of a recipe speaks of."""

import re
from collections.abc import Iterable, Mapping

from ..errors import unknown
from ..weights.names import listed
from .layout import Layout
from .recipe import Module

#: names of modules that stand for everything which no other module of the recipe claims
REST = ("rest", "default", "shared", "")

# mergekit's names of modules that are no part of the tensors' own names
_KNOWN = {
    "multi_modal_projector": r"(^|\.)(multi_modal_projector|mm_projector|connector|merger|deepstack_merger_list)\.",
    "vision_tower": r"(^|\.)(vision_tower|vision_model|visual)\.",
    "text_decoder": r"^(?!(.*\.)?(multi_modal_projector|mm_projector|connector|merger|vision_tower|vision_model|visual|audio_tower)\.)",
}


def claimed(modules: Mapping[str, Module], names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Module -> the tensors that it speaks of; every tensor belongs to exactly one.

    A module is named by the prefix of a stack (`model.encoder.layers`), by any word of the tensors' names (`encoder`), by
    mergekit's words for vision-language models, or `rest` for what is left. The most special claim wins, then the first.

    Raises:
        RecipeError: a module claims nothing, or a tensor belongs to no module.
    """
    every = tuple(names)
    left = dict.fromkeys(every)
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(modules, key=lambda module: _rank(module, every)):
        mine = tuple(tensor for tensor in left if _speaks(name, tensor))
        if not mine:
            modules[name].place.refuse(f"{unknown('module', name, _words(every))}; a module is named by a word or a prefix of its tensors' names.")
        found[name] = mine
        left = {tensor: None for tensor in left if tensor not in set(mine)}
    if left:
        first = next(iter(modules.values()))
        first.place.refuse(f"{listed(left)} belong to no module of this recipe; add a module for them, or `rest: {{models: [...]}}` for all that is left.")
    return found


def _rank(module: str, names: tuple[str, ...]) -> tuple[int, int]:
    """Prefixes before words, words before what is left; of prefixes the longest first."""
    if module in REST:
        return 3, 0
    if module == "text_decoder":
        return 2, 0
    known = ("multi_modal_projector", "vision_tower")
    return (0, -len(module)) if any(name.startswith(module + ".") for name in names) else (1, known.index(module) if module in known else 9)


def _speaks(module: str, tensor: str) -> bool:
    if module in REST:
        return True
    if module in _KNOWN:
        return re.search(_KNOWN[module], tensor) is not None
    return tensor.startswith(module + ".") or module in tensor.split(".")


def _words(names: tuple[str, ...]) -> list[str]:
    stacks = Layout.of(names).stacks
    return sorted({*stacks, *(name.partition(".")[0] for name in names), "rest"})
