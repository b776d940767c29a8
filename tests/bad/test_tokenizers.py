"""Models that number their tokens differently: never mixed row by row unasked."""

import json
from pathlib import Path

import pytest

from .scene import LINEAR, merged, recipe, refused, same, tensors

TOKENS = ["<unk>", *"abcdefghijk"]


def tokenizer(model: str, tokens: list[str]) -> None:
    """Words as tokens, numbered in this order."""
    words = {"type": "WordLevel", "vocab": {token: i for i, token in enumerate(tokens)}, "unk_token": "<unk>"}
    rest = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    text = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": words, **rest}
    (Path(model) / "tokenizer.json").write_text(json.dumps(text))


@pytest.fixture
def apart(here: Path) -> Path:
    """`two` has the last two tokens the other way round."""
    tokenizer("one", TOKENS)
    tokenizer("two", [*TOKENS[:-2], "k", "j"])
    return here


@pytest.mark.usefixtures("apart")
def test_different_tokenizers_need_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    says = r"line 4: the tokenizers of 'two' and 'one' differ, .*'k' is row 10 in two and row 11 in one; 'j' is .*`tokenizer_source: union`"
    refused(capsys, "merge", recipe(LINEAR), "out", says=says)


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("source", ["union", "base", "one"])
def test_with_the_word_each_token_meets_its_own(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR + f"tokenizer_source: {source}\n")
    one, two, out = (tensors(model)["model.embed_tokens.weight"] for model in ("one", "two", "out"))
    swapped = two[[*range(10), 11, 10]]
    assert same(out, (one + swapped) / 2) and not same(one, swapped)


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("tokenizer_source: unoin", r"line 5: .*'unoin'"),
        ("tokenizer: {source: union, tokens: {x: {source: thre}}}", r"line 5: .*'thre'.*'three'"),
        ("tokenizer: {source: one, tokens: {x: {source: {kind: model_token, model: one, token: zz}}}}", r"line 5: .*'zz'"),
        ("tokenizer: {source: union, tokens: {x: {source: {kind: model_token, model: one, token_id: 99}}}}", r"line 5: .*99"),
        ("tokenizer: {source: union, pad_to_multiple_of: 0}", r"line 5: pad_to_multiple_of must be a whole number of at least 1, found 0"),
        ("tokenizer: {source: union, tokns: {}}", r"line 5: tokenizer: no key named 'tokns'; nearest: 'tokens'"),
        ("chat_template: chatlm", r"line \d: chat_template: .*'chatlm'; nearest: 'chatml'"),
    ],
)
def test_slips_about_tokens(more: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "chat" in more:
        tokenizer("two", TOKENS)
    refused(capsys, "merge", recipe(f"{LINEAR}{more}\n"), "out", says=says)


BROKEN = [
    "{",
    "[]",
    '{"model": {"type": "WordLevel", "vocab": 3}}',
    '{"model": {"type": "Unigram", "vocab": [3]}}',
    '{"model": {"type": "Unigram", "vocab": [["a"]]}}',
    '{"model": {"vocab": {"a": 0}}, "added_tokens": [3]}',
    '{"model": {"vocab": {"a": 0}}, "added_tokens": [{"content": "x"}]}',
]


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_tokenizer_that_is_needed(content: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("two/tokenizer.json").write_text(content)
    refused(capsys, "merge", recipe(LINEAR + "tokenizer_source: union\n"), "out", says=r"two/tokenizer\.json: ")


@pytest.mark.usefixtures("apart")
def test_a_list_of_tokens_that_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    Path("two/tokenizer.json").unlink()
    Path("two/vocab.txt").write_bytes(b"a\n\xff\n")
    refused(capsys, "merge", recipe(LINEAR + "tokenizer_source: union\n"), "out", says=r"two/vocab\.txt: not a text file in UTF-8")


@pytest.mark.usefixtures("here")
def test_a_vocabulary_without_any_tokenizer(capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "merge", recipe(LINEAR + "tokenizer_source: union\n"), "out", says=r"line 5: .*tokenizer")


@pytest.mark.usefixtures("apart")
def test_a_tokenizers_donor_is_an_input_too(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer("three", TOKENS)
    refused(capsys, "merge", recipe(LINEAR + "tokenizer_source: three\n"), "three", "--overwrite", says=r"three is an input; write the output elsewhere")
