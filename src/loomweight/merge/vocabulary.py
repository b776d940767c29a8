"""A vocabulary: which token has which row, and which tokens are cut out of a text before it is cut into pieces."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

#: how an added token is matched where nothing says: as it is written, wherever it stands
PLAIN: Mapping[str, bool] = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one tokenizer.

    Args:
        ids: token -> number, which is its row in the embedding; added tokens too.
        added: the added tokens (special ones and others) -> how they are matched, in the words of `tokenizer.json`.

    >>> Vocabulary({"a": 0, "<s>": 4}).size
    5
    """

    ids: Mapping[str, int]
    added: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def size(self) -> int:
        """One more than the highest number."""
        return max(self.ids.values(), default=-1) + 1

    @cached_property
    def ordered(self) -> list[tuple[str, int]]:
        """(token, number) by number."""
        return sorted(self.ids.items(), key=lambda pair: (pair[1], pair[0]))

    @cached_property
    def tokens(self) -> dict[int, str]:
        """Number -> token."""
        return {number: token for token, number in reversed(self.ordered)}

    def within(self, rows: int) -> dict[str, int]:
        """The tokens that have a row in an embedding of so many rows."""
        return {token: number for token, number in self.ids.items() if number < rows}

    def grown(self, tokens: Mapping[str, Mapping[str, Any] | None]) -> "Vocabulary":
        """With more tokens at its end, in their order; a token with a way to be matched is an added one."""
        fresh = {token: self.size + i for i, token in enumerate(token for token in tokens if token not in self.ids)}
        added = {token: how for token in fresh if (how := tokens[token]) is not None}
        return Vocabulary({**self.ids, **fresh}, {**self.added, **added})


def difference(left: Mapping[str, int], right: Mapping[str, int]) -> list[str]:
    """The tokens that have not one number in both, those that both hold first.

    >>> difference({"a": 0, "b": 1, "c": 2}, {"a": 0, "b": 2})
    ['b', 'c']
    """
    apart = [token for token in {**left, **right} if left.get(token) != right.get(token)]
    return sorted(apart, key=lambda token: (token not in left or token not in right, left.get(token, right.get(token)), token))
