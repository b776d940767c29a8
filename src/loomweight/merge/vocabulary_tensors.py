"""Which tensors of a model have a row for every token: the input embedding, the output layer, and its bias."""

import re

from ..weights import Weights
from .layout import spot

_INPUT = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings?|tok_embeddings|token_embedding|shared|embed_in|embeddings)\.weight$")
_OUTPUT = re.compile(
    r"(^|\.)((lm_head|generator_lm_head|embed_out|output|proj_out|decoder|vocab_projector|predictions|decoder\.embed_tokens)\.(weight|bias)|final_logits_bias)$"
)


def embedding(weights: Weights) -> str | None:
    """The name of the input embedding, or None for a model that reads no tokens.

    >>> import torch
    >>> embedding(Weights.of({"model.norm.weight": torch.ones(4), "model.embed_tokens.weight": torch.ones(9, 4)}))
    'model.embed_tokens.weight'
    """
    return next((name for name in weights.names if _INPUT.search(name) and spot(name) is None and len(weights.spec[name].shape) == 2), None)


def vocabulary_tensors(weights: Weights) -> list[str]:
    """All tensors, aliases too, that have as many rows as the input embedding and stand where tokens are read or told.

    A bias of one row, as BART keeps it, counts as one entry for each token.
    """
    found = embedding(weights)
    if found is None:
        return []
    rows = weights.spec[found].shape[0]
    named = [name for name in weights.names if spot(name) is None and (_INPUT.search(name) or _OUTPUT.search(name))]
    return [name for name in named if rows_of(weights, name) == rows]


def rows_of(weights: Weights, name: str) -> int:
    """How many tokens a tensor has entries for."""
    shape = weights.spec[name].shape
    return shape[1] if name.endswith("final_logits_bias") and len(shape) == 2 else shape[0] if shape else 0


def resized(shape: tuple[int, ...], name: str, rows: int) -> tuple[int, ...]:
    """The shape with another number of tokens."""
    return (shape[0], rows) if name.endswith("final_logits_bias") and len(shape) == 2 else (rows, *shape[1:])
