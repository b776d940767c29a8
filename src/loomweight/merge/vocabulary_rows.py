"""For every row of an embedding of the result: the model and the row that it comes from. Numbers alone, no data.

A model keeps its own row wherever it knows the token. What it lacks comes from the only other model that knows the token, else
from the base if it does, else it is the mean of all that do; a token that nobody knows gets zeros. Rows beyond the tokens
(many models have some) stay at their places; where no model has one, it is the mean of the model's other rows (Hewitt,
"Initializing New Word Embeddings for Pretrained Language Models", 2021). As in mergekit 0.1.5, except that it cuts such rows off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import RecipeError
from .token_choice import TokenChoice, TokenSource
from .vocabulary import Vocabulary

ZERO, MEAN, CENTRE = -1, -2, -3


@dataclass(frozen=True)
class Knowledge:
    """What is known of one model: its tokens, and how many rows its embedding has."""

    name: str
    vocabulary: Vocabulary
    rows: int


@dataclass(frozen=True)
class Rows:
    """Where the rows of one model come from.

    Args:
        givers: the models by number.
        source: for every row of the result the number of a giver, or ZERO, MEAN, CENTRE.
        row: the row there.
        own: for every giver, its own row of that token, or -1; MEAN averages over these.
        tokens: the numbers that are tokens; CENTRE is the mean of their rows.
    """

    givers: tuple[str, ...]
    source: Tensor
    row: Tensor
    own: Mapping[int, Tensor]
    tokens: Tensor

    def unchanged(self, number: int, rows: int) -> bool:
        """True where a model of so many rows stays as it is."""
        size = len(self.source)
        return rows == size and bool((self.source == number).all()) and torch.equal(self.row, torch.arange(size))

    @cached_property
    def runs(self) -> list[tuple[int, int, int, int]]:
        """(first, end, source, row of the first) of the stretches that one giver fills with consecutive rows."""
        if not len(self.source):
            return []
        same = self.source[1:] == self.source[:-1]
        breaks = ~(same & ((self.row[1:] == self.row[:-1] + 1) | (self.source[1:] < 0)))
        starts = [0, *(breaks.nonzero().flatten() + 1).tolist()]
        sources, rows = self.source[starts].tolist(), self.row[starts].tolist()
        return list(zip(starts, [*starts[1:], len(self.source)], sources, rows, strict=True))


def own_rows(model: Knowledge, result: Vocabulary, size: int) -> Tensor:
    """For every row of the result, the model's own row of the same token, or -1; rows beyond all tokens keep their place."""
    found = torch.full((size,), -1, dtype=torch.int64)
    mine = model.vocabulary.within(model.rows)
    pairs = [(number, mine[token]) for token, number in result.ids.items() if token in mine]
    if pairs:
        new, old = torch.tensor(pairs, dtype=torch.int64).T
        found[new] = old
    spare = torch.ones(size, dtype=torch.bool)
    spare[model.rows :] = False
    for taken in (result.ids.values(), mine.values()):
        numbers = torch.tensor([number for number in taken if number < size], dtype=torch.int64)
        spare[numbers] = False
    places = spare.nonzero().flatten()
    found[places] = places
    return found


def tables(models: Sequence[Knowledge], donors: Sequence[Knowledge], result: Vocabulary, size: int, choice: TokenChoice, base: str | None) -> list[Rows]:
    """The rows of each model that is merged.

    Args:
        models: what is merged, in order; the base too.
        donors: what is only taken from where the choice names it.
        size: how many rows the result has.

    Raises:
        RecipeError: a token is to come from where it is not.
    """
    givers = tuple(model.name for model in (*models, *donors))
    own = torch.stack([own_rows(model, result, size) for model in models])
    tokens = torch.zeros(size, dtype=torch.bool)
    tokens[torch.tensor(list(result.ids.values()), dtype=torch.int64)] = True
    source, row = _default(own, tokens, givers.index(base) if base in givers[: len(models)] else None)
    forced = torch.zeros(size, dtype=torch.bool)
    for token, told in choice.tokens.items():
        number = result.ids[token]
        forced[number] = told.force
        if told.kind != "default":
            source[number], row[number] = _told(token, told, {model.name: model for model in (*models, *donors)}, givers, choice)
    held = dict(enumerate(own))
    keeps = [(own[i] >= 0) & ~forced for i in range(len(models))]
    return [Rows(givers, torch.where(keep, i, source), torch.where(keep, own[i], row), held, tokens) for i, keep in enumerate(keeps)]


def _default(own: Tensor, tokens: Tensor, base: int | None) -> tuple[Tensor, Tensor]:
    """Source and row for models that lack a row."""
    has = own >= 0
    count = has.sum(0)
    source = torch.full_like(own[0], MEAN)
    source[count == 0] = torch.where(tokens, ZERO, CENTRE)[count == 0]
    if base is not None:
        source[has[base]] = base
    single = count == 1
    source[single] = has.int().argmax(0)[single]
    row = own.gather(0, source.clamp(min=0)[None])[0]
    return source, torch.where(source >= 0, row, 0)


def _told(token: str, told: TokenSource, known: Mapping[str, Knowledge], givers: tuple[str, ...], choice: TokenChoice) -> tuple[int, int]:
    """Source and row that a recipe names for a token."""
    if told.kind == "zero":
        return ZERO, 0
    if told.model is None or told.model not in known:
        raise _error(choice, token, f"model {told.model!r} has no such tensor to take it from")
    model = known[told.model]
    if told.token_id is not None:
        row = told.token_id
        if row >= model.rows:
            raise _error(choice, token, f"model {model.name!r} has no row {row}: its embedding has {model.rows}")
        return givers.index(model.name), row
    wanted = told.token if told.token is not None else token
    if (found := model.vocabulary.within(model.rows).get(wanted)) is None:
        raise _error(choice, token, f"model {model.name!r} does not know the token {wanted!r}; name another one, or kind: zero")
    return givers.index(model.name), found


def _error(choice: TokenChoice, token: str, words: str) -> RecipeError:
    return choice.place.error(f"the embedding of {token!r}: {words}.")
