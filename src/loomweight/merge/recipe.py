"""What a recipe says, as plain frozen data; nothing here has looked at a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from ..weights.names import matches
from .alignment import How
from .marks import Place
from .settings import Settings
from .token_choice import TokenChoice

NONE: Settings = MappingProxyType({})


@dataclass(frozen=True)
class Source:
    """A model, or some of its layers, with the parameters that hold for it alone.

    Args:
        model: path[@revision][+adapter], or the name of another document.
        layers: (first, end) of a half-open range, or None for all.
    """

    model: str
    layers: tuple[int, int] | None
    parameters: Settings
    place: Place


@dataclass(frozen=True)
class Slice:
    """Layers of the result, merged from layers of the sources: one after the other."""

    sources: tuple[Source, ...]
    base_model: str | None
    parameters: Settings
    place: Place

    @property
    def models(self) -> tuple[str, ...]:
        """The sources' models, in order."""
        return tuple(source.model for source in self.sources)


@dataclass(frozen=True)
class Module:
    """A part of the model with a stack of layers of its own: `models` is one slice of all layers, `slices` several."""

    slices: tuple[Slice, ...]
    parameters: Settings
    place: Place
    kind: Literal["models", "slices"]


@dataclass(frozen=True)
class Recipe:
    """One document: what to merge, by which method, with which numbers.

    Args:
        method: the name in the file.
        modules: name -> module; a file without `modules` has one, called "" here.
        dtype: the dtype to store floating tensors in (`out_dtype`, or else `dtype`); arithmetic is in float32 always.
        chat_place: where `chat_template` stands.
        drop: patterns of tensors that are left out of all models -> where they stand.
        integers: integer tensors must be "equal" in all models, or the "first" one's are taken.
        seed: keys every random choice, together with the tensor's name.
        align: how all models are brought into the coordinates of the reference before anything else; None leaves them in their own.
        align_place: where `align` stands.
        notes: what the file says that has no effect here.
        text: the document as it was written.
        folder: where the file lies; a relative path is looked for in the working folder first, then here.
        earlier: the documents of the same file whose results this one uses, by name.
    """

    method: str
    modules: Mapping[str, Module]
    base_model: str | None
    parameters: Settings
    place: Place
    method_place: Place
    name: str | None = None
    dtype: str | None = None
    tokenizer: TokenChoice | None = None
    chat_template: str | None = None
    chat_place: Place | None = None
    drop: Mapping[str, Place] = field(default_factory=dict)
    integers: Literal["equal", "first"] = "equal"
    seed: int = 0
    align: How | None = None
    align_place: Place | None = None
    notes: tuple[str, ...] = ()
    text: str = field(default="", repr=False)
    folder: Path | None = field(default=None, repr=False)
    earlier: "Mapping[str, Recipe]" = field(default_factory=dict, repr=False)

    def drops(self, name: str) -> bool:
        """True for a tensor that is left out of all models."""
        return any(matches(pattern, name) for pattern in self.drop)

    @property
    def slices(self) -> Iterator[tuple[Module, Slice]]:
        """Every slice with the module it belongs to."""
        return ((module, part) for module in self.modules.values() for part in module.slices)

    @property
    def models(self) -> dict[str, Place]:
        """Every model that takes part, in the order of the file, and where it is named first; the base too."""
        found: dict[str, Place] = {}
        for _, part in self.slices:
            for source in part.sources:
                found.setdefault(source.model, source.place)
        for base in [self.base_model, *(part.base_model for _, part in self.slices)]:
            if base:
                found.setdefault(base, self.place)
        return found

    @property
    def reference(self) -> str:
        """The model whose config and side files the result takes after: the base, or else the first."""
        return self.base_model or next(iter(self.models))

    @property
    def donors(self) -> dict[str, Place]:
        """Models of which only the tokenizer or single tokens are taken."""
        named = self.tokenizer.models if self.tokenizer else ()
        return {model: self.tokenizer.place for model in named if model not in self.models} if self.tokenizer else {}
