"""The fixed order of names in a loaded set: numbers count as numbers, and neither files nor shards matter."""

import re
from collections.abc import Iterable

_DIGITS = re.compile(r"([0-9]+)")
# input embeddings in the architectures of transformers; in T5 and BART `shared` is the one that encoder and decoder share
_SHARED = re.compile(r"(^|\.)shared\.weight$")
_EMBEDDING = re.compile(r"(^|\.)(wte|tok_embeddings|word_embeddings|embed_tokens|embed_in|token_embedding)\.weight$")


def natural(names: Iterable[str]) -> list[str]:
    """Sort names as a reader would: runs of digits compare by value.

    >>> natural(["h.10.w", "h.9.w", "b", "h.9.b"])
    ['b', 'h.9.b', 'h.9.w', 'h.10.w']
    """
    return sorted(names, key=_key)


def owner(names: Iterable[str]) -> str:
    """Which of the names that share a tensor stores it: an input embedding, as every reader of tied models expects, else the first.

    >>> owner(["lm_head.weight", "model.embed_tokens.weight"]), owner(["b", "a"])
    ('model.embed_tokens.weight', 'a')
    >>> owner(["decoder.embed_tokens.weight", "encoder.embed_tokens.weight", "shared.weight"])
    'shared.weight'
    """
    return min(names, key=lambda name: (not _SHARED.search(name), not _EMBEDDING.search(name), _key(name)))


def _key(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = _DIGITS.split(name)
    return [_number(part) if at % 2 else (0, part) for at, part in enumerate(parts)], name


def _number(digits: str) -> tuple[int, str]:
    bare = digits.lstrip("0")  # by length, then by digits: no conversion, so a name of a million digits costs nothing
    return len(bare), bare
