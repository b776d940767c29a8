"""The tensors of a PEFT adapter, sorted by the base's tensor that each of them changes.

PEFT names them after the base's modules: `base_model.model.<module>.lora_A.weight`, with the adapter's name before
`weight` where it was not taken out. Everything that is not a factor replaces a tensor of the base as a whole.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import BrokenFile
from .names import listed

_PREFIX = "base_model.model."
_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(?:\.(?P<adapter>(?!weight$|bias$)[^.]+))?(?:\.(?P<leaf>weight|bias))?"
)
_TRAINED = re.compile(r"\.modules_to_save(\.default)?(?=\.)")
_ADAPTED = re.compile(r"\.base_layer(?=\.(weight|bias)$)")


@dataclass(frozen=True)
class Factors:
    """Names in the adapter's file of what changes one module; `embedding` where A and B are an embedding's."""

    module: str
    a: str
    b: str
    magnitude: str | None
    bias: str | None
    embedding: bool


@dataclass(frozen=True)
class Replacement:
    """A tensor of the base that the adapter holds whole; `untied` where it is a module of its own from then on."""

    stored: str
    untied: bool


def factors_in(path: Path, names: list[str]) -> dict[str, Factors]:
    """Module -> names of its factors.

    Raises:
        BrokenFile: a factor without its other half, several adapters in one file, or a tensor of a kind that is not understood.
    """
    parts: dict[str, dict[str, str]] = {}
    adapters: set[str] = set()
    for name in names:
        found = _PART.fullmatch(name.removeprefix(_PREFIX))
        if found:
            parts.setdefault(found["module"], {})[f"{found['part']}.{found['leaf'] or 'weight'}"] = name
            adapters.add(found["adapter"] or "")
        elif ".lora_" in name or "trainable_tokens" in name:
            raise BrokenFile(f"{path}: tensor {name!r} is of no kind of LoRA that is understood; merge the adapter with peft first.")
    if len(adapters) > 1:
        raise BrokenFile(f"{path}: holds several adapters: {listed(adapters)}; save one of them alone.")
    return {module: _factors(path, module, found) for module, found in parts.items()}


def replacements_in(names: list[str]) -> dict[str, Replacement]:
    """Name in the base -> the tensor that replaces it."""
    return dict(_replacement(name) for name in names if not _PART.fullmatch(name.removeprefix(_PREFIX)))


def _replacement(stored: str) -> tuple[str, Replacement]:
    name = stored.removeprefix(_PREFIX)
    plain = _ADAPTED.sub("", name)
    return _TRAINED.sub("", plain), Replacement(stored, untied=plain == name)


def _factors(path: Path, module: str, found: Mapping[str, str]) -> Factors:
    for kind in ("lora", "lora_embedding"):
        if f"{kind}_A.weight" in found and f"{kind}_B.weight" in found:
            magnitude, bias = found.get("lora_magnitude_vector.weight"), found.get("lora_B.bias")
            return Factors(module, found[f"{kind}_A.weight"], found[f"{kind}_B.weight"], magnitude, bias, embedding=kind == "lora_embedding")
    raise BrokenFile(f"{path}: module {module!r} has {listed(found.values())} without the other factor; save the adapter again.")
