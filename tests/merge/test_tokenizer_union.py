"""Merging models of different tokenizers, end to end: every token keeps its row, every file says the same."""

import json

import pytest
import torch

import loomweight as lw
from loomweight.errors import RecipeError, ShapesDiffer
from loomweight.merge.config_of_result import _set_size

pytest.importorskip("transformers")

from .tiny_llama import ENGLISH, LATIN, bpe, edit, merged, rows, save, tokens

LINEAR = "{merge_method: linear, models: [{model: TMP/a}, {model: TMP/b}], parameters: {weight: 1}, TOKENS}"
TEXTS = ["hello world", "the quick brown fox", "hello lorem ipsum elit", "zzz over"]


def near(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Equal up to the last bit of the terms of a float32 sum."""
    return torch.allclose(found, wanted, rtol=2e-7, atol=1e-8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save(folder / "a", bpe(ENGLISH, 90), 0)
    save(folder / "b", bpe(LATIN, 80, ("<|im_start|>",)), 1)
    return folder


@pytest.fixture(scope="module")
def union(models):
    return merged(models, LINEAR.replace("TOKENS", "tokenizer_source: union"))


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "lm_head.weight"])
def test_every_token_has_the_mean_of_the_rows_that_know_it(models, union, name) -> None:
    a, b, out = tokens(models / "a"), tokens(models / "b"), tokens(union)
    assert set(out) == set(a) | set(b) and sorted(out.values()) == list(range(len(out)))
    assert {token: out[token] for token in a} == a
    assert set(a) & set(b) and set(a) - set(b) and set(b) - set(a)
    rows_a, rows_b, rows_out = (rows(folder, name) for folder in (models / "a", models / "b", union))
    assert len(rows_out) == len(out)
    for token, number in out.items():
        known = [table[vocabulary[token]] for table, vocabulary in ((rows_a, a), (rows_b, b)) if token in vocabulary]
        assert near(rows_out[number], sum(known) / len(known)), token


def test_text_is_cut_as_in_the_reference_and_special_tokens_are_one_token(models, union) -> None:
    from transformers import AutoTokenizer

    out, reference = AutoTokenizer.from_pretrained(union), AutoTokenizer.from_pretrained(models / "a")
    for text in TEXTS:
        assert out(text).input_ids == reference(text).input_ids
        assert out.decode(out(text).input_ids) == text
    number = out.get_vocab()["<|im_start|>"]
    assert out("hello<|im_start|>world").input_ids == [*out("hello").input_ids, number, *out("world").input_ids]
    assert out.decode([number], skip_special_tokens=True) == ""
    latin = AutoTokenizer.from_pretrained(models / "b").tokenize(" lorem")
    assert out.decode(out.convert_tokens_to_ids(latin)) == " lorem"


def test_the_merged_model_gives_the_logits_of_one_built_by_hand(models, union) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = AutoModelForCausalLM.from_pretrained(union)
    one, other = (AutoModelForCausalLM.from_pretrained(models / name) for name in "ab")
    a, b = tokens(models / "a"), tokens(models / "b")
    shared = sorted(set(a) & set(b))
    state, left, right = made.state_dict(), one.state_dict(), other.state_dict()
    for name in state:
        if state[name].shape == left[name].shape:
            state[name] = (left[name] + right[name]) / 2
        else:
            both = torch.stack([left[name][[a[token] for token in shared]], right[name][[b[token] for token in shared]]]).mean(0)
            state[name] = torch.zeros_like(state[name])
            state[name][[a[token] for token in shared]] = both
    by_hand = AutoModelForCausalLM.from_config(made.config)
    by_hand.load_state_dict(state)
    asked = torch.tensor([[a[token] for token in shared[:7]]])
    assert AutoTokenizer.from_pretrained(union).convert_ids_to_tokens(asked[0]) == shared[:7]
    columns = [a[token] for token in shared]
    with torch.no_grad():
        torch.testing.assert_close(made(asked).logits[..., columns], by_hand(asked).logits[..., columns])


def test_config_follows_and_files_of_older_forms_are_gone(models, union, tmp_path) -> None:
    config = json.loads((union / "config.json").read_text())
    assert config["vocab_size"] == len(tokens(union)) and config["eos_token_id"] == 1
    old = save(tmp_path / "a", bpe(ENGLISH, 90), 0)
    save(tmp_path / "b", bpe(LATIN, 80, ("<|im_start|>",)), 1)
    (old / "vocab.json").write_text("{}")
    (old / "merges.txt").write_text("")
    edit(old / "tokenizer_config.json", added_tokens_decoder={"0": {"content": "<s>", "special": True}})
    out = merged(tmp_path, LINEAR.replace("TOKENS", "tokenizer_source: union"))
    assert not (out / "vocab.json").exists() and not (out / "merges.txt").exists()
    told = json.loads((out / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert {entry["content"] for entry in told.values()} == {"<s>", "<|im_start|>"}
    assert told[str(tokens(out)["<|im_start|>"])]["special"] is True


def test_base_keeps_its_tokenizer_to_the_byte_and_fills_from_itself(models, tmp_path) -> None:
    text = "{merge_method: linear, base_model: TMP/a, models: [{model: TMP/b}], parameters: {weight: 1}, tokenizer_source: base}"
    out = merged(models, text, str(tmp_path / "out"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (models / "a" / name).read_bytes()
    a, b, made = tokens(models / "a"), tokens(models / "b"), rows(out)
    rows_a, rows_b = rows(models / "a"), rows(models / "b")
    assert len(made) == len(rows_a)
    for token, number in a.items():
        seen_in_b = rows_b[b[token]] if token in b else rows_a[number]
        assert near(made[number], (rows_a[number] + seen_in_b) / 2)


def test_numbers_in_configs_follow_their_tokens_to_another_models_tokenizer(models, tmp_path) -> None:
    shuffled = bpe(LATIN, 60, ("<|eot|>",))
    content = json.loads(shuffled.backend_tokenizer.to_str())
    swap = {"<s>": "</s>", "</s>": "<pad>", "<pad>": "<s>"}
    content["model"]["vocab"] = {swap.get(token, token): number for token, number in content["model"]["vocab"].items()}
    content["added_tokens"] = [{**entry, "id": content["model"]["vocab"].get(entry["content"], entry["id"])} for entry in content["added_tokens"]]
    save(tmp_path / "b", shuffled, 1)
    (tmp_path / "b" / "tokenizer.json").write_text(json.dumps(content))
    save(tmp_path / "a", bpe(ENGLISH, 90), 0)
    edit(tmp_path / "a" / "generation_config.json", eos_token_id=[1, 2], suppress_tokens=[0, 45], forced_eos_token_id=-1)
    out = merged(tmp_path, LINEAR.replace("TOKENS", "tokenizer_source: TMP/b"))
    new = tokens(out)
    assert new == tokens(tmp_path / "b") and new["</s>"] == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (new["<s>"], new["</s>"], new["<pad>"])
    assert config["vocab_size"] == len(new) == len(rows(out))
    gone = next(token for token, number in tokens(tmp_path / "a").items() if number == 45)
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [new["</s>"], new["<pad>"]] and generation["forced_eos_token_id"] == -1
    assert generation["suppress_tokens"] == [new["<s>"]] + ([new[gone]] if gone in new else [])


def test_a_special_token_that_is_lost_is_refused(models, tmp_path) -> None:
    save(tmp_path / "a", bpe(ENGLISH, 90, ("<|mine|>",)), 0, image_token_id=90)
    save(tmp_path / "b", bpe(LATIN, 80), 1)
    with pytest.raises(RecipeError, match=r"r.yaml, line 1: image_token_id is '<\|mine\|>', a token that the result's vocabulary lacks; add it"):
        merged(tmp_path, LINEAR.replace("TOKENS", "tokenizer_source: TMP/b"))
    assert not (tmp_path / "out").exists()
    kept = merged(tmp_path, LINEAR.replace("TOKENS", "tokenizer: {source: TMP/b, tokens: {'<|mine|>': {}}}"))
    assert json.loads((kept / "config.json").read_text())["image_token_id"] == tokens(kept)["<|mine|>"] == 80
    assert torch.equal(rows(kept)[80], rows(tmp_path / "a")[90])


def test_equal_vocabularies_change_no_bit_and_lose_no_row(tmp_path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        save(tmp_path / name, bpe(ENGLISH, 90), seed, rows=96)
    plain = merged(tmp_path, LINEAR.replace(", TOKENS", ""), "plain")
    for source in ("union", "base", "TMP/b"):
        out = merged(tmp_path, LINEAR.replace("TOKENS", f"tokenizer_source: {source}"), source.replace("TMP/", "of_"))
        assert (out / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
        assert (out / "tokenizer.json").read_bytes() == (plain / "tokenizer.json").read_bytes()
        assert json.loads((out / "config.json").read_text())["vocab_size"] == 96


def test_rows_beyond_the_tokens_stay_where_one_model_has_fewer(tmp_path) -> None:
    save(tmp_path / "a", bpe(ENGLISH, 90), 0, rows=96)
    save(tmp_path / "b", bpe(ENGLISH, 90), 1)
    with pytest.raises(ShapesDiffer, match="tokenizer_source: union"):
        merged(tmp_path, LINEAR.replace(", TOKENS", ""))
    out = merged(tmp_path, LINEAR.replace("TOKENS", "tokenizer_source: base"))
    a, b, made = rows(tmp_path / "a"), rows(tmp_path / "b"), rows(out)
    assert len(made) == 96 and torch.equal(made[90:], a[90:]) and near(made[:90], (a[:90] + b) / 2)
    fewer = merged(tmp_path, "{merge_method: linear, models: [{model: TMP/b}, {model: TMP/a}], parameters: {weight: 1}, tokenizer_source: union}", "fewer")
    assert len(rows(fewer)) == 90


def test_equal_shapes_and_other_tokens_are_refused_before_data_moves(models, tmp_path) -> None:
    save(tmp_path / "a", bpe(ENGLISH, 80), 0)
    save(tmp_path / "b", bpe(LATIN, 80), 1)
    with pytest.raises(
        RecipeError, match=r"r.yaml, line 1: the tokenizers of '.*b' and '.*a' differ.*is row \d+ in .*\(\d+ tokens in all\).*tokenizer_source: union"
    ):
        merged(tmp_path, LINEAR.replace(", TOKENS", ""))
    assert not (tmp_path / "out").exists()
    (tmp_path / "b" / "tokenizer.json").unlink()
    assert merged(tmp_path, LINEAR.replace(", TOKENS", "")).exists()


def test_one_special_token_at_a_spare_row_is_a_difference(tmp_path) -> None:
    save(tmp_path / "a", bpe(ENGLISH, 90), 0, rows=96)
    save(tmp_path / "b", bpe(ENGLISH, 90, ("<|im_start|>",)), 1, rows=96)
    with pytest.raises(RecipeError, match=r"'<\|im_start\|>' is row 90 in .*/b and absent in .*/a\. Say"):
        merged(tmp_path, LINEAR.replace(", TOKENS", ""))
    out = merged(tmp_path, LINEAR.replace("TOKENS", "tokenizer_source: union"))
    assert tokens(out)["<|im_start|>"] == 90 and len(rows(out)) == 96
    assert torch.equal(rows(out)[90], rows(tmp_path / "b")[90])


def test_a_token_beyond_the_rows_is_no_difference(tmp_path) -> None:
    save(tmp_path / "a", bpe(ENGLISH, 90), 0)
    save(tmp_path / "b", bpe(ENGLISH, 90, ("[EXTRA]",)), 1, rows=90)
    assert len(rows(merged(tmp_path, LINEAR.replace(", TOKENS", "")))) == 90


def test_a_model_without_tokenizer_is_named(tmp_path) -> None:
    save(tmp_path / "a", bpe(ENGLISH, 90), 0)
    save(tmp_path / "b", bpe(ENGLISH, 90), 1)
    (tmp_path / "b" / "tokenizer.json").unlink()
    with pytest.raises(RecipeError, match=r"line 1: the recipe speaks of tokens, and model '.*b' has no tokenizer"):
        merged(tmp_path, LINEAR.replace("TOKENS", "tokenizer_source: union"))


def test_tied_models_stay_tied(tmp_path) -> None:
    save(tmp_path / "a", bpe(ENGLISH, 90), 0, tie_word_embeddings=True)
    save(tmp_path / "b", bpe(LATIN, 80), 1, tie_word_embeddings=True)
    out = merged(tmp_path, LINEAR.replace("TOKENS", "tokenizer_source: union"))
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert len(model.lm_head.weight) == len(tokens(out))


def test_the_result_of_one_document_hands_its_vocabulary_on(models, tmp_path) -> None:
    text = """
name: both
merge_method: linear
models: [{model: TMP/a}, {model: TMP/b}]
parameters: {weight: 1}
tokenizer_source: union
---
merge_method: linear
models: [{model: both}, {model: TMP/a}]
parameters: {weight: 1}
TOKENS
"""
    with pytest.raises(ShapesDiffer):
        merged(models, text.replace("TOKENS", ""), str(tmp_path / "none"))
    out = merged(models, text.replace("TOKENS", "tokenizer_source: base"), str(tmp_path / "out"))
    both = merged(models, text.partition("---")[0], str(tmp_path / "both"))
    assert tokens(out) == tokens(both)
    a = rows(models / "a")
    assert torch.equal(rows(out)[len(a) :], rows(both)[len(a) :])
    assert near(rows(out)[: len(a)], (rows(both)[: len(a)] + a) / 2)
    assert isinstance(lw.load(out), lw.Weights)


def test_a_document_that_says_nothing_takes_after_a_united_one(models, tmp_path) -> None:
    text = """
name: both
merge_method: linear
models: [{model: TMP/a}, {model: TMP/b}]
parameters: {weight: 1}
tokenizer_source: union
---
merge_method: passthrough
slices: [{sources: [{model: both, layer_range: [0, 2]}]}, {sources: [{model: both, layer_range: [0, 2]}]}]
"""
    out, both = merged(models, text, str(tmp_path / "out")), merged(models, text.partition("---")[0], str(tmp_path / "both"))
    config = json.loads((out / "config.json").read_text())
    assert config["vocab_size"] == len(rows(out)) == len(tokens(both)) and config["num_hidden_layers"] == 4
    assert (out / "tokenizer.json").read_bytes() == (both / "tokenizer.json").read_bytes()


def test_the_size_is_told_where_a_config_of_several_configs_tells_it() -> None:
    config = {"vocab_size": 7, "text_config": {"vocab_size": 7}, "vision_config": {"hidden_size": 7}, "decoder": {"vocab_size": 7}, "other": {"vocab_size": 9}}
    _set_size(config, 12)
    assert [config["vocab_size"], config["text_config"], config["decoder"], config["other"]] == [12, {"vocab_size": 12}, {"vocab_size": 12}, {"vocab_size": 9}]


def test_embeddings_by_another_name_are_told_in_the_config(tmp_path) -> None:
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

    for seed, (name, corpus) in enumerate((("a", ENGLISH), ("b", LATIN))):
        torch.manual_seed(seed)
        tokenizer = bpe(corpus, 80)
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=80, **sizes)).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    out = merged(tmp_path, LINEAR.replace("TOKENS", "tokenizer_source: union"))
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.vocab_size == len(tokens(out)) == len(model.gpt_neox.embed_in.weight) == len(model.get_output_embeddings().weight)


def test_what_is_done_to_the_vocabulary_is_said_before_any_data_moves(models, tmp_path) -> None:
    from loomweight.merge import explain, plans, read_recipes
    from loomweight.merge.stages import STAGES

    told = "tokenizer: {source: union, tokens: {'<new>': {}, '<zero>': {source: {kind: zero}}}}"
    (tmp_path / "r.yaml").write_text(LINEAR.replace("TOKENS", told).replace("TMP", str(models)))
    [plan] = plans(read_recipes(tmp_path / "r.yaml"), STAGES)
    a, b = tokens(models / "a"), tokens(models / "b")
    count = len(set(a) | set(b)) + 2
    assert f"note: the vocabulary has {count} tokens in {count} rows: 90 numbered as in {models}/a, {count - 90} added, such as " in explain(plan)
    assert "note: no model knows '<new>': its row is zero." in explain(plan)
