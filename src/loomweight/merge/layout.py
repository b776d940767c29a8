"""Where the layers of a model are, read off its tensors' names alone.

A stack is a prefix that is followed by numbers 0, 1, 2, ... without a gap: `model.layers`, `transformer.h`, `encoder.block`,
`vision_model.encoder.layers`. Only the first number of a name counts: experts inside a layer are no layers.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ..errors import RecipeError

#: what the last word of a stack of layers is called in the architectures of transformers and timm
_CONTAINERS = ("layers", "layer", "h", "block", "blocks", "resblocks", "resblock", "transformer_blocks")

# at the input of a stack: embeddings, positions, patches, the first convolutions; `embed_out` and `pre_classifier` are not
_INPUT = re.compile(r"embed(?!_out)|embd|(^|\.)w[tp]e\.|(^|\.)conv\d*\.|patch|position|rotary|relative_pe|cls_token|_pre\.|(^|\.)pre_lay|stem")
_OUTPUT = re.compile(r"norm|ln_f|head|classifier|pooler|score|output|final|post|predictions|projector|embed_out|vocab|cls\.|adapter")

# what the first layer of a stack holds for all of them: T5's positions, WavLM's
_LEADING = re.compile(r"(^|\.)(relative_attention_bias|global_relative_attention_bias|rel_attn_embed)\.")


class Spot(NamedTuple):
    """A tensor inside a stack: prefix, number of the layer, and the rest of the name."""

    stack: str
    layer: int
    rest: str

    def at(self, layer: int) -> str:
        """The name of the same tensor in another layer."""
        return ".".join(part for part in (self.stack, str(layer), self.rest) if part)


def spot(name: str) -> Spot | None:
    """The first number between dots, what stands before it and what after.

    >>> spot("model.layers.3.mlp.experts.0.w1")
    Spot(stack='model.layers', layer=3, rest='mlp.experts.0.w1')
    """
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part.isdecimal():
            return Spot(".".join(parts[:i]), int(part), ".".join(parts[i + 1 :]))
    return None


def at_input(name: str) -> bool:
    """True for a tensor outside of any stack that stands before its layers; those that look like neither side count as such.

    >>> [at_input(name) for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight", "scale")]
    [True, False, False, True]
    """
    return bool(_INPUT.search(name)) or not _OUTPUT.search(name)


def serves_all(name: str) -> bool:
    """True for a tensor that the first layer of a stack may hold for all of its layers.

    >>> serves_all("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"), serves_all("encoder.block.0.layer.0.SelfAttention.q.weight")
    (True, False)
    """
    return _LEADING.search(name) is not None


@dataclass(frozen=True)
class Layout:
    """The stacks of one model.

    >>> Layout.of(["h.0.attn.w", "h.1.attn.w", "ln_f.w"]).stacks
    {'h': 2}
    """

    names: tuple[str, ...]

    @staticmethod
    def of(names: Iterable[str]) -> "Layout":
        """The layout of a set of tensor names."""
        return Layout(tuple(names))

    @cached_property
    def stacks(self) -> dict[str, int]:
        """Prefix -> number of layers."""
        numbers: dict[str, set[int]] = {}
        for name in self.names:
            if found := spot(name):
                numbers.setdefault(found.stack, set()).add(found.layer)
        return {stack: len(found) for stack, found in numbers.items() if found == set(range(len(found)))}

    @cached_property
    def layers(self) -> dict[str, list[dict[str, str]]]:
        """Prefix -> for every layer: rest of the name -> name."""
        found: dict[str, list[dict[str, str]]] = {stack: [{} for _ in range(count)] for stack, count in self.stacks.items()}
        for name in self.names:
            if (place := spot(name)) and place.stack in found:
                found[place.stack][place.layer][place.rest] = name
        return found

    def leading(self, stack: str) -> dict[str, str]:
        """Rest of the name -> name, for what layer 0 alone holds and all layers use: T5's `relative_attention_bias`."""
        first, *others = self.layers[stack]
        return {rest: name for rest, name in first.items() if others and _LEADING.search(rest) and not any(rest in layer for layer in others)}

    @cached_property
    def loose(self) -> tuple[str, ...]:
        """The names outside of all stacks."""
        return tuple(name for name in self.names if not ((place := spot(name)) and place.stack in self.stacks))

    def main(self, label: str) -> str:
        """The one stack that `slices` without `modules` speaks of.

        Raises:
            RecipeError: there is none, or several could be meant.
        """
        named = [stack for stack in self.stacks if stack.rpartition(".")[2] in _CONTAINERS]
        candidates = named or list(self.stacks)
        if len(candidates) == 1:
            return candidates[0]
        if not candidates:
            raise RecipeError(f"{label}: no tensor is numbered 0, 1, 2, ..., so there are no layers to slice; use models instead of slices.")
        listed = ", ".join(f"{stack} ({self.stacks[stack]} layers)" for stack in candidates)
        raise RecipeError(f"{label} has several stacks of layers: {listed}; say which with modules: {{{candidates[0]}: {{slices: ...}}, ...}}.")
