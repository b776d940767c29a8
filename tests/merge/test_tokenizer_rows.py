"""Rows of united vocabularies against a slow second reading: dictionaries, one row at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loomweight import Weights
from loomweight.errors import RecipeError
from loomweight.merge.marks import Place
from loomweight.merge.token_choice import TokenChoice, TokenSource
from loomweight.merge.vocabulary import Vocabulary
from loomweight.merge.vocabulary_rows import Knowledge, own_rows, tables
from loomweight.merge.vocabulary_weights import over

HERE = Place("r.yaml", 3)
WIDTH = 3


def choice(**tokens: TokenSource) -> TokenChoice:
    return TokenChoice("union", tokens, None, HERE)


@st.composite
def models(draw) -> list[Knowledge]:
    """Two or three vocabularies over a few letters, with spare rows, and tokens beyond the rows."""
    found = []
    for name in draw(st.sampled_from(["ab", "abc"])):
        tokens = draw(st.lists(st.sampled_from("pqrstuvw"), unique=True, min_size=1))
        found.append(Knowledge(name, Vocabulary({token: i for i, token in enumerate(tokens)}), len(tokens) + draw(st.integers(-1, 3))))
    return [model for model in found if model.rows > 0] or [Knowledge("a", Vocabulary({"p": 0}), 1)]


def weights(model: Knowledge, computed: bool = False) -> Weights:
    tensor = torch.arange(model.rows * WIDTH, dtype=torch.float32).reshape(model.rows, WIDTH) + 100 * ord(model.name)
    found = Weights.of({"e": tensor, "rest": torch.ones(2)}, label=model.name)
    return found.map(lambda name, spec, block: lambda lo, hi: block(lo, hi) + 0) if computed else found


def slowly(number: int, model: Knowledge, every: list[Knowledge], base: str | None, result: Vocabulary) -> torch.Tensor | None:
    """The row that the rules in words give; None for a row that is the mean of the model's tokens."""
    token = result.tokens.get(number)

    def has(other: Knowledge) -> int | None:
        if token is not None:
            row = other.vocabulary.ids.get(token)
            return row if row is not None and row < other.rows else None
        return number if number < other.rows and number not in other.vocabulary.ids.values() else None

    def row(other: Knowledge) -> torch.Tensor:
        return weights(other)["e"][has(other)]

    knowing = [other for other in every if has(other) is not None]
    if has(model) is not None:
        return row(model)
    if not knowing:
        return torch.zeros(WIDTH) if token is not None else None
    if len(knowing) > 1 and any(other.name == base for other in knowing):
        return row(next(other for other in knowing if other.name == base))
    return torch.stack([row(other).double() for other in knowing]).mean(0).float()


@given(models=models(), base=st.sampled_from(["a", None]), extra=st.integers(0, 4), computed=st.booleans(), cuts=st.data())
def test_every_row_and_every_span(models: list[Knowledge], base: str | None, extra: int, computed: bool, cuts) -> None:
    first, *others = models
    result = first.vocabulary.grown({token: None for model in others for token in model.vocabulary.ids})
    size = max(result.size, first.rows) + extra
    givers = {model.name: weights(model, computed) for model in models}
    for model, table in zip(models, tables(models, [], result, size, choice(), base), strict=True):
        made = over(givers[model.name], {"e": table}, givers)
        assert made.spec["e"].shape == (size, WIDTH) and torch.equal(made["rest"], torch.ones(2))
        wanted = [slowly(number, model, models, base, result) for number in range(size)]
        told = [row for number, row in enumerate(wanted) if number in result.tokens]
        centre = torch.stack(told).double().mean(0).float()
        whole = torch.stack([centre if row is None else row for row in wanted])
        torch.testing.assert_close(made["e"], whole, rtol=1e-7, atol=0)
        lo = cuts.draw(st.integers(0, whole.numel()))
        hi = cuts.draw(st.integers(lo, whole.numel()))
        assert torch.equal(made.open("e")(lo, hi), made["e"].reshape(-1)[lo:hi])


@given(models=models())
def test_a_model_over_its_own_vocabulary_is_untouched(models: list[Knowledge]) -> None:
    model = models[0]
    size = max(model.rows, model.vocabulary.size)
    [table] = tables([model], [], model.vocabulary, size, choice(), None)
    assert table.unchanged(0, model.rows) == (model.rows >= model.vocabulary.size)


A = Knowledge("a", Vocabulary({"p": 0, "q": 1}), 2)
B = Knowledge("b", Vocabulary({"q": 0, "r": 1, "s": 2}), 3)
C = Knowledge("c", Vocabulary({"t": 0}), 2)


def row_of(token: str, model: Knowledge, told: TokenSource) -> torch.Tensor:
    result = A.vocabulary.grown({"r": None, "s": None, "new": None})
    made = tables([A, B], [C], result, result.size, choice(**{token: told}), "a")
    table = made[[A, B].index(model)]
    givers = {known.name: weights(known) for known in (A, B, C)}
    return over(givers[model.name], {"e": table}, givers)["e"][result.ids[token]]


@pytest.mark.parametrize(
    ("token", "model", "told", "wanted"),
    [
        ("r", A, TokenSource("zero"), torch.zeros(WIDTH)),
        ("r", B, TokenSource("zero"), weights(B)["e"][1]),
        ("r", B, TokenSource("zero", force=True), torch.zeros(WIDTH)),
        ("q", B, TokenSource("model", "a"), weights(B)["e"][0]),
        ("q", B, TokenSource("model", "a", force=True), weights(A)["e"][1]),
        ("new", B, TokenSource("model_token", "c", token="t"), weights(C)["e"][0]),
        ("new", A, TokenSource("model_token", "c", token_id=1), weights(C)["e"][1]),
        ("new", A, TokenSource("default"), torch.zeros(WIDTH)),
        ("q", B, TokenSource("default", force=True), weights(A)["e"][1]),
    ],
)
def test_what_a_recipe_says_of_a_token(token, model, told, wanted) -> None:
    assert torch.equal(row_of(token, model, told), wanted)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (TokenSource("model", "a"), "the embedding of 'r': model 'a' does not know the token 'r'"),
        (TokenSource("model_token", "b", token="zz"), "model 'b' does not know the token 'zz'"),
        (TokenSource("model_token", "b", token_id=3), "model 'b' has no row 3: its embedding has 3"),
        (TokenSource("model", "d"), "model 'd' has no such tensor"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_line_token_and_model(told, words) -> None:
    with pytest.raises(RecipeError, match=f"r.yaml, line 3: .*{words}"):
        row_of("r", A, told)


def test_spare_rows_are_those_that_no_token_has() -> None:
    model = Knowledge("m", Vocabulary({"p": 0, "q": 2}), 5)
    assert own_rows(model, Vocabulary({"q": 0, "p": 1}), 6).tolist() == [2, 0, -1, 3, 4, -1]
