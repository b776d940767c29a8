"""A tokenizer that lies in an adapter's folder: used where the recipe asks for that model's tokens."""

import json
from pathlib import Path

import pytest
import torch

import loomweight as lw
from loomweight.errors import OutputError

pytest.importorskip("transformers")

from .tiny_llama import ENGLISH, bpe, merged, rows, save, tokens

PAIR = "{merge_method: linear, models: [{model: TMP/a+TMP/lora}, {model: TMP/b}], parameters: {weight: 1}, TOKENS}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "a", bpe(ENGLISH, 60), 0)
    save(tmp_path / "b", bpe(ENGLISH, 60, ("<chat>",)), 1)
    tensors = {f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight": torch.full(shape, 0.1) for side, shape in (("A", (1, 8)), ("B", (8, 1)))}
    lw.save(tensors, tmp_path / "lora" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"], "base_model_name_or_path": "a"}
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(config))
    return tmp_path


def trained(folder: Path) -> None:
    """The adapter was trained with a tokenizer of its own, which has one token more."""
    bpe(ENGLISH, 60, ("<chat>",)).save_pretrained(folder / "lora")


@pytest.mark.parametrize("source", ["TMP/a+TMP/lora", "base", "union"])
def test_the_adapters_tokenizer_is_the_models(folder: Path, source: str) -> None:
    trained(folder)
    out = merged(folder, PAIR.replace("TOKENS", f"tokenizer_source: {source}"))
    assert tokens(out)["<chat>"] == 60 and tokens(out) == tokens(folder / "lora")
    made, a, b = rows(out), rows(folder / "a"), rows(folder / "b")
    torch.testing.assert_close(made[:60], (a + b[:60]) / 2)
    assert torch.equal(made[60], b[60])  # a has no row for it, so b's is taken
    assert json.loads((out / "config.json").read_text())["vocab_size"] == 61


@pytest.mark.parametrize("source", ["TMP/a+TMP/lora", "base"])
def test_without_one_it_is_the_base_models(folder: Path, source: str) -> None:
    out = merged(folder, PAIR.replace("TOKENS", f"tokenizer_source: {source}"))
    assert tokens(out) == tokens(folder / "a") and len(rows(out)) == 60


def test_where_nobody_asks_for_tokens_the_side_files_are_the_bases(folder: Path) -> None:
    trained(folder)
    text = "{merge_method: passthrough, models: [{model: TMP/a+TMP/lora}]}"
    assert tokens(merged(folder, text)) == tokens(folder / "a")


def test_on_the_result_of_another_document(folder: Path) -> None:
    trained(folder)
    text = """
name: half
merge_method: linear
models: [{model: TMP/a, parameters: {weight: 1}}, {model: TMP/a2, parameters: {weight: 1}}]
---
merge_method: linear
models: [{model: half+TMP/lora, parameters: {weight: 1}}, {model: TMP/b, parameters: {weight: 1}}]
tokenizer_source: half+TMP/lora
"""
    save(folder / "a2", bpe(ENGLISH, 60), 2)
    assert tokens(merged(folder, text))["<chat>"] == 60


def test_a_donors_adapter_is_an_input(folder: Path) -> None:
    trained(folder)
    text = "{merge_method: passthrough, models: [{model: TMP/b}], tokenizer_source: TMP/a+TMP/lora}"
    with pytest.raises(OutputError, match="lora/out lies inside the input"):
        merged(folder, text, "lora/out")
