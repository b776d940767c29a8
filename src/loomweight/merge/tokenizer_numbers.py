"""Numbers of tokens that configs repeat (`eos_token_id` and the like), true for the vocabulary of the result."""

from collections.abc import Mapping
from typing import Any

from .marks import Place
from .vocabulary import Vocabulary

_LISTS = ("suppress_tokens", "begin_suppress_tokens")


def holds_numbers(key: str) -> bool:
    """True for the keys of configs whose values are numbers of tokens.

    >>> holds_numbers("eos_token_id"), holds_numbers("image_token_index"), holds_numbers("hidden_size")
    (True, True, False)
    """
    return key.endswith(("_token_id", "_token_ids", "_token_index")) or key in _LISTS


def renumbered(config: Mapping[str, Any], old: Vocabulary, new: Vocabulary, own: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """A config whose numbers follow their tokens from one vocabulary to another.

    A number that is no token (-1, or beyond the vocabulary) stays. Where the new vocabulary lacks the token, the number that the
    new tokenizer's model has under the same key holds; of a list, the token is left out.

    Args:
        own: the config of the model whose tokenizer the result takes.

    Raises:
        RecipeError: neither is there.

    >>> old, new = Vocabulary({"<s>": 1, "</s>": 2}), Vocabulary({"<s>": 0, "</s>": 9})
    >>> renumbered({"eos_token_id": 2, "hidden_size": 2}, old, new, {}, Place("", 1))
    {'eos_token_id': 9, 'hidden_size': 2}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        below = own.get(key)
        if isinstance(value, dict):
            found[key] = renumbered(value, old, new, below if isinstance(below, dict) else {}, place)
        elif holds_numbers(key):
            found[key] = _renumbered(key, value, old, new, own, place)
        else:
            found[key] = value
    return found


def _renumbered(key: str, value: Any, old: Vocabulary, new: Vocabulary, own: Mapping[str, Any], place: Place) -> Any:
    if isinstance(value, list):
        followed = [_followed(number, old, new) for number in value]
        kept = [number for number in followed if number is not None]
        return kept if kept or not value else own.get(key, [])
    if type(value) is not int:
        return value
    followed = _followed(value, old, new)
    if followed is None and own.get(key) is None:
        token = old.tokens[value]
        place.refuse(f"{key} is {token!r}, a token that the result's vocabulary lacks; add it under `tokenizer: {{tokens: {{{token!r}: {{}}}}}}`.")
    return own[key] if followed is None else followed


def _followed(number: Any, old: Vocabulary, new: Vocabulary) -> int | None:
    """The new number of the token, the number itself where it is none, or None where the token is gone."""
    token = old.tokens.get(number)
    return new.ids.get(token) if token is not None else number
