"""Kinds of tokenizers and of models besides the common one: WordPiece, Unigram, files of older forms, biases, single tokens."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import loomweight as lw
from loomweight.errors import BrokenFile, MissingExtra, RecipeError
from loomweight.merge.tokenizer_files import read_vocabulary
from loomweight.merge.tokenizer_pieces import pieces
from loomweight.merge.vocabulary_tensors import vocabulary_tensors

pytest.importorskip("transformers")

from .tiny_llama import ENGLISH, LATIN, bpe, merged, rows, save, tokens

PAIR = "{merge_method: linear, models: [{model: TMP/a}, {model: TMP/b}], parameters: {weight: 1}, TOKENS}"


def wordpiece(corpus: list[str]):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer, raw.decoder = normalizers.Lowercase(), pre_tokenizers.Whitespace(), decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=70, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False)
    raw.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")


def bert(folder: Path, tokenizer, seed: int) -> None:
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(seed)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16}
    model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes))
    torch.nn.init.normal_(model.cls.predictions.bias)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_wordpiece_with_a_bias_on_its_output(tmp_path) -> None:
    from transformers import AutoModelForMaskedLM

    bert(tmp_path / "a", wordpiece(ENGLISH), 0)
    bert(tmp_path / "b", wordpiece(LATIN), 1)
    out = merged(tmp_path, PAIR.replace("TOKENS", "tokenizer_source: union"))
    model, left, right = (AutoModelForMaskedLM.from_pretrained(folder) for folder in (out, tmp_path / "a", tmp_path / "b"))
    a, b = tokens(tmp_path / "a"), tokens(tmp_path / "b")
    assert set(a) - set(b) and set(b) - set(a)
    for token, number in tokens(out).items():
        known = [(m, v[token]) for m, v in ((left, a), (right, b)) if token in v]
        for tensor in ("cls.predictions.bias", "bert.embeddings.word_embeddings.weight"):
            wanted = sum(m.state_dict()[tensor][row] for m, row in known) / len(known)
            torch.testing.assert_close(model.state_dict()[tensor][number], wanted)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight


def test_unigram_keeps_its_way_to_cut_text(tmp_path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    for seed, (name, corpus) in enumerate((("a", ENGLISH), ("b", LATIN))):
        raw = Tokenizer(models.Unigram())
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        special = ["<s>", "</s>", "<pad>", "<unk>"]
        raw.train_from_iterator(corpus, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False))
        raw.add_special_tokens([f"<{name}>"])
        save(tmp_path / name, PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"), seed)
    out = merged(tmp_path, PAIR.replace("TOKENS", "tokenizer_source: union"))
    a, b, made = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "a", tmp_path / "b", out))
    assert set(made.get_vocab()) == set(a.get_vocab()) | set(b.get_vocab()) and sorted(made.get_vocab().values()) == list(range(len(made)))
    assert {token: made.get_vocab()[token] for token in a.get_vocab()} == a.get_vocab()
    for text in ENGLISH[:3]:
        assert made(text).input_ids == a(text).input_ids
    for token in ("<a>", "<b>"):
        assert made.convert_ids_to_tokens(made(f"the {token} fox").input_ids).count(token) == 1
    known = rows(tmp_path / "b")[b.get_vocab()["<b>"]]
    assert torch.equal(rows(out)[made.get_vocab()["<b>"]], known)


def test_sizes_are_padded_with_the_mean_row(tmp_path) -> None:
    save(tmp_path / "a", bpe(ENGLISH, 90), 0)
    save(tmp_path / "b", bpe(ENGLISH, 90), 1)
    out = merged(tmp_path, PAIR.replace("TOKENS", "tokenizer: {source: base, pad_to_multiple_of: 64}"))
    made = rows(out)
    assert len(made) == 128 and json.loads((out / "config.json").read_text())["vocab_size"] == 128
    torch.testing.assert_close(made[90:], made[:90].mean(0).expand(38, -1))


def test_rows_are_taken_from_where_the_recipe_says_even_from_models_that_are_not_merged(tmp_path) -> None:
    save(tmp_path / "a", bpe(ENGLISH, 90), 0)
    save(tmp_path / "b", bpe(ENGLISH, 90), 1)
    save(tmp_path / "c", bpe(LATIN, 80, ("<|im_start|>",)), 2)
    told = "{'<|im_start|>': {source: TMP/c}, '<new>': {source: {kind: zero}}, hello: {source: {kind: model_token, model: TMP/c, token_id: 5}, force: true}}"
    out = merged(tmp_path, PAIR.replace("TOKENS", f"tokenizer: {{source: base, tokens: {told}}}"))
    made, vocabulary, c = rows(out), tokens(out), rows(tmp_path / "c")
    assert len(made) == 92 and not made[vocabulary["<new>"]].any()
    assert torch.equal(made[vocabulary["<|im_start|>"]], c[80]) and torch.equal(made[vocabulary["hello"]], c[5])
    with pytest.raises(RecipeError, match=r"line 1: the embedding of 'hello': model '.*c' has no row 500: its embedding has 81"):
        merged(tmp_path, PAIR.replace("TOKENS", f"tokenizer: {{source: base, tokens: {told.replace('5}', '500}')}}}"), "none")


def test_files_of_older_forms_say_the_same(tmp_path) -> None:
    tokenizer = bpe(ENGLISH, 90, ("<extra>",))
    tokenizer.save_pretrained(tmp_path / "new")
    (tmp_path / "old").mkdir()
    model = json.loads((tmp_path / "new" / "tokenizer.json").read_text())["model"]
    (tmp_path / "old" / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "old" / "added_tokens.json").write_text('{"<extra>": 90}')
    new, old = read_vocabulary(tmp_path / "new"), read_vocabulary(tmp_path / "old")
    assert new is not None and old is not None and dict(new.ids) == dict(old.ids) == tokenizer.get_vocab()
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "vocab.txt").write_text("[PAD]\na\n##b\n")
    lines = read_vocabulary(tmp_path / "lines")
    assert lines is not None and dict(lines.ids) == {"[PAD]": 0, "a": 1, "##b": 2}


def test_a_tokenizer_that_is_none_is_named_when_it_is_asked_for(tmp_path) -> None:
    save(tmp_path / "a", bpe(ENGLISH, 90), 0)
    save(tmp_path / "b", bpe(ENGLISH, 90), 1)
    (tmp_path / "b" / "tokenizer.json").write_text('{"model": {"vocab": "none"}}')
    with pytest.raises(BrokenFile, match=r"b/tokenizer.json: no vocabulary in it"):
        merged(tmp_path, PAIR.replace("TOKENS", "tokenizer_source: union"))
    assert merged(tmp_path, PAIR.replace(", TOKENS", "")).exists()


def test_models_without_embeddings_have_no_vocabulary(tmp_path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        save_file({"fc.weight": torch.ones(4, 4)}, tmp_path / name / "model.safetensors")
    bpe(ENGLISH, 60).save_pretrained(tmp_path / "a")
    bpe(LATIN, 60).save_pretrained(tmp_path / "b")
    assert merged(tmp_path, PAIR.replace(", TOKENS", "")).exists()
    with pytest.raises(RecipeError, match=r"no tensor of '.*a' looks like an embedding"):
        merged(tmp_path, PAIR.replace("TOKENS", "tokenizer_source: union"), "none")


@pytest.mark.parametrize(
    ("config", "kind", "wanted"),
    [
        ("GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2)", "GPT2LMHeadModel", 1),
        ("GPTNeoXConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)", "GPTNeoXForCausalLM", 2),
        ("T5Config(vocab_size=30, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)", "T5ForConditionalGeneration", 1),
        ("BartConfig(vocab_size=30, d_model=8, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8, decoder_ffn_dim=8, "
         "encoder_attention_heads=2, decoder_attention_heads=2)", "BartForConditionalGeneration", 2),
        ("RobertaConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)", "RobertaForMaskedLM", 2),
        ("DistilBertConfig(vocab_size=30, dim=8, n_layers=1, n_heads=2, hidden_dim=8)", "DistilBertForMaskedLM", 2),
        ("WhisperConfig(vocab_size=30, d_model=8, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8, decoder_ffn_dim=8, encoder_attention_heads=2,"
         "decoder_attention_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)", "WhisperForConditionalGeneration", 1),
        ("ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)", "ViTModel", 0),
    ],
)  # fmt: skip
def test_the_tensors_of_a_vocabulary_are_those_that_transformers_resizes(config, kind, wanted) -> None:
    import transformers

    name, _, arguments = config.partition("(")
    model = getattr(transformers, kind)(eval(f"getattr(transformers, '{name}')({arguments}", {"transformers": transformers, "getattr": getattr}))
    before = lw.load(model)
    physical = {before.ties.get(name, name) for name in vocabulary_tensors(before)}
    assert len(physical) == wanted
    if wanted:
        shapes = {name: spec.shape for name, spec in before.spec.items()}
        model.resize_token_embeddings(31, mean_resizing=False)
        after = {name: spec.shape for name, spec in lw.load(model).spec.items()}
        assert {name for name in shapes if after[name] != shapes[name]} == set(vocabulary_tensors(before))


def proto(*parts: str) -> bytes:
    """A sentencepiece model with these pieces, their scores and, behind them, a field that is no piece."""
    inner = [b"\x0a" + bytes([len(part.encode())]) + part.encode() + b"\x15\x00\x00\x80\xbf\x18\x01" for part in parts]
    return b"".join(b"\x0a" + bytes([len(piece)]) + piece for piece in inner) + b"\x12\x02\x08\x01"


def test_sentencepiece_files_are_compared_without_any_library(tmp_path) -> None:
    for seed, (name, order) in enumerate((("a", ("<unk>", "\u2581the", "x")), ("b", ("<unk>", "x", "\u2581the")))):
        save(tmp_path / name, bpe(ENGLISH, 60), seed)
        (tmp_path / name / "tokenizer.json").unlink()
        (tmp_path / name / "tokenizer.model").write_bytes(proto(*order))
    assert pieces(tmp_path / "a" / "tokenizer.model") == {"<unk>": 0, "\u2581the": 1, "x": 2}
    with pytest.raises(RecipeError, match=r"the tokenizers of '.*b' and '.*a' differ.*'x' is row 1 in .*b and row 2 in .*a; '.the' is row 2 in .*b and"):
        merged(tmp_path, PAIR.replace(", TOKENS", ""))
    (tmp_path / "b" / "tokenizer.model").write_bytes(proto("<unk>", "\u2581the", "x") + b"\x12\x02\x08\x02")
    assert merged(tmp_path, PAIR.replace(", TOKENS", "")).exists()


@pytest.mark.parametrize("data", [b"", b"\x0a\x50abc", b"\x0b", b"\x12\x02\x08\x01", b"\xff"])
def test_what_is_no_sentencepiece_file_is_named(tmp_path, data) -> None:
    (tmp_path / "x.model").write_bytes(data)
    with pytest.raises(BrokenFile, match=r"x.model: "):
        pieces(tmp_path / "x.model")


def test_real_sentencepiece_files_number_pieces_as_the_library_does(tmp_path) -> None:
    library = pytest.importorskip("sentencepiece")
    (tmp_path / "text").write_text("\n".join(ENGLISH))
    library.SentencePieceTrainer.train(input=str(tmp_path / "text"), model_prefix=str(tmp_path / "m"), vocab_size=50, model_type="bpe", minloglevel=2)
    read = library.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    assert pieces(tmp_path / "m.model") == {read.id_to_piece(i): i for i in range(50)}


def sentencepiece_only(folder: Path, corpus: list[str], seed: int) -> None:
    """A Llama whose vocabulary lies in a trained `tokenizer.model` and nowhere else, as old checkpoints have it."""
    library = pytest.importorskip("sentencepiece")
    (folder.parent / "text").write_text("\n".join(corpus))
    trained = folder.parent / "tokenizer"
    library.SentencePieceTrainer.train(
        input=str(folder.parent / "text"), model_prefix=str(trained), vocab_size=45, model_type="bpe", hard_vocab_limit=False, minloglevel=2
    )
    tokenizer = bpe(ENGLISH, 60)
    size = library.SentencePieceProcessor(model_file=f"{trained}.model").vocab_size()
    save(folder, tokenizer, seed, rows=size)
    for path in folder.glob("*token*"):
        path.unlink()
    trained.with_suffix(".model").rename(folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')


def test_a_vocabulary_that_is_a_sentencepiece_file_alone_is_united(tmp_path) -> None:
    pytest.importorskip("google.protobuf")
    for seed, (name, corpus) in enumerate((("a", ENGLISH), ("b", LATIN))):
        sentencepiece_only(tmp_path / name, corpus, seed)
        found = read_vocabulary(tmp_path / name)
        assert found is not None and dict(found.ids) == pieces(tmp_path / name / "tokenizer.model")
    out = merged(tmp_path, PAIR.replace("TOKENS", "tokenizer_source: union"))
    a, b, made = pieces(tmp_path / "a" / "tokenizer.model"), pieces(tmp_path / "b" / "tokenizer.model"), tokens(out)
    assert set(made) == set(a) | set(b) and set(b) - set(a) and not (out / "tokenizer.model").exists()
    left, right, found = rows(tmp_path / "a"), rows(tmp_path / "b"), rows(out)
    for token, number in made.items():
        known = [side[held[token]] for side, held in ((left, a), (right, b)) if token in held]
        torch.testing.assert_close(found[number], sum(known) / len(known))
    from transformers import AutoTokenizer

    old, new = AutoTokenizer.from_pretrained(tmp_path / "a"), AutoTokenizer.from_pretrained(out)
    assert new("hello world").input_ids == old("hello world").input_ids


@pytest.mark.parametrize(("module", "package"), [("sentencepiece", "sentencepiece"), ("google.protobuf", "protobuf")])
def test_what_reads_such_a_file_is_named_where_it_is_not_installed(tmp_path, monkeypatch, module, package) -> None:
    sentencepiece_only(tmp_path / "a", ENGLISH, 0)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"a is read through {package}, which is not installed: pip install 'loomweight\[hf\]', or put tokenizer.json"):
        read_vocabulary(tmp_path / "a")
