"""Transformers' models, small and from their configurations."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from loomweight.weights.axes import Axes, axes, table_for, verify
from loomweight.weights.memory import from_module

transformers: Any = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

WORDS = torch.arange(6)[None]
NARROW = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 12}
SHORT = {"num_key_value_heads": 2, "use_cache": False, "max_position_embeddings": 16}
T5 = {"vocab_size": 11, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0, "use_cache": False}
TOWER = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
CLIP = {
    "text_config": {**TOWER, "vocab_size": 11, "max_position_embeddings": 16, "eos_token_id": 10},
    "vision_config": {**TOWER, "image_size": 8, "patch_size": 4},
    "projection_dim": 6,
}

WORDS_OF = {"vocab_size": 11, "use_cache": False, "bos_token_id": 1, "eos_token_id": 2}
FALCON = {**WORDS_OF, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_hidden_size": 12}
EXPERTS = NARROW | SHORT | {"num_local_experts": 3, "num_experts_per_tok": 2, "num_hidden_layers": 1}

#: class, configuration, example
MODELS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "Llama": ("LlamaForCausalLM", NARROW | SHORT, WORDS),
    "Mistral": ("MistralForCausalLM", NARROW | SHORT, WORDS),
    "Qwen2": ("Qwen2ForCausalLM", NARROW | SHORT, WORDS),
    "GPT2": ("GPT2LMHeadModel", {"vocab_size": 11, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16, "use_cache": False}, WORDS),
    "Bert": ("BertForMaskedLM", NARROW | {"max_position_embeddings": 16}, WORDS),
    "ViT": ("ViTForImageClassification", NARROW | {"image_size": 8, "patch_size": 4}, torch.ones(1, 3, 8, 8)),
    "T5": ("T5ForConditionalGeneration", T5, {"input_ids": WORDS, "decoder_input_ids": WORDS}),
    "GPTNeoX": ("GPTNeoXForCausalLM", NARROW | WORDS_OF | {"max_position_embeddings": 16, "rotary_pct": 0.5}, WORDS),
    "Falcon": ("FalconForCausalLM", FALCON | {"multi_query": False}, WORDS),
    "Falcon 7B": ("FalconForCausalLM", FALCON | {"multi_query": True}, WORDS),
    "Falcon 40B": ("FalconForCausalLM", FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}, WORDS),
    "Bloom": ("BloomForCausalLM", WORDS_OF | {"hidden_size": 8, "n_layer": 2, "n_head": 2}, WORDS),
    "Mixtral": ("MixtralForCausalLM", EXPERTS, WORDS),
    "Mixtral, a loop": ("MixtralForCausalLM", EXPERTS, WORDS),
    "CLIP": ("CLIPModel", CLIP, {"input_ids": torch.tensor([[1, 2, 3, 10]]), "pixel_values": torch.ones(1, 3, 8, 8)}),
}
#: a line for each space of a model; a person's list of what may be exchanged
LLAMA = """{first} = 8
model.layers.*.self_attn.q_proj.heads = 2
model.layers.*.self_attn.q_proj.queries = 2 in model.layers.*.self_attn.q_proj.heads
model.layers.*.self_attn.v_proj.dims = 2 in model.layers.*.self_attn.q_proj.heads
model.layers.*.mlp.gate_proj = 12"""
SPACES = {
    "Llama": LLAMA.format(first="model.embed_tokens"),
    "Mistral": LLAMA.format(first="model.embed_tokens"),
    "Qwen2": LLAMA.format(first="model.embed_tokens"),
}
#: how many units there are to exchange, of every kind of space: residual streams, heads, dims of heads, hidden layers
SIZES = {
    "GPT2": [2, 2, 4, 4, 4, 4, 8, 32, 32],
    # heads with all that is in them: rotary positions hold queries and keys, and values are stored between those of other heads
    "GPTNeoX": [4, 4, 8, 12, 12],
    "Falcon": [4, 4, 8, 12, 12],
    # the heads' queries; one key and one value for all heads, whose dims have an order of their own
    "Falcon 7B": [2, 2, 4, 4, 8, 12, 12],
    # groups of heads
    "Falcon 40B": [2, 2, 8, 12, 12],
    # ALiBi tells heads apart: dims and values of each have orders of their own
    "Bloom": [*[4] * 8, 8, 32, 32],
    # groups of heads, queries in them, dims of values in groups; one order for the inner units of all experts
    "Mixtral": [2, 2, 2, 8, 12],
    "Mixtral, a loop": [2, 2, 2, 8, 12],
    # what leads to the tied word embeddings is their space, too
    "Bert": [2, 2, 2, 2, 4, 4, 8, 12, 12],
    "ViT": [2, 2, 2, 2, 4, 4, 8, 12, 12],
    "CLIP": [2, 2, 4, 4, 4, 4, 6, 8, 8, 12, 12],
    # six attentions; the self-attentions of a stack share their heads, since they share their relative positions; one tied embedding for both stacks
    "T5": [2, 2, 2, 2, *[4] * 12, 8, *[12] * 4],
}


def counted(out: Any) -> Any:
    return out.logits_per_image if hasattr(out, "logits_per_image") else out.logits


@cache
def found(name: str) -> tuple[nn.Module, Any, Axes]:
    kind, settings, example = MODELS[name]
    made = getattr(transformers, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = made.config_class(**settings)
        if name.endswith("a loop"):
            config._experts_implementation = "eager"
        model = made(config).eval()
        for parameter in model.parameters():
            parameter.data += torch.rand(parameter.shape) * 0.5
    return model, example, axes(model, example, outputs=counted)


every = pytest.mark.parametrize("name", MODELS)


@every
def test_spaces(name: str) -> None:
    table = found(name)[2]
    if name in SPACES:
        assert sorted(line for line in str(table).splitlines() if " = " in line) == sorted(SPACES[name].splitlines())
    else:
        assert sorted(space.size for space in table.spaces.values()) == sorted(SIZES[name])
    assert table.how.startswith("make_fx" if name.endswith("a loop") else "torch.export")
    routing = ("histc", "index_put", "div_", "one_hot", "nonzero", "where") if name.startswith("Mixtral") else ()
    assert not [note for note in table.notes if "not understood" in note and not note.startswith(routing)]


@every
def test_proof(name: str) -> None:
    """Norms of these models compute in float32 whatever their weights are."""
    model, example, table = found(name)
    assert max(verify(table, model, example, outputs=counted, tolerance=1e-5).values()) < 1e-5


@every
def test_text(name: str) -> None:
    model, _, table = found(name)
    read = table_for(str(table), from_module(model))
    assert read.layouts == table.layouts
    assert [(space.name, space.size, space.within) for space in read.spaces.values()] == [(s.name, s.size, s.within) for s in table.spaces.values()]


def test_numbers_inside_numbers_are_not_mixed_up() -> None:
    """T5 counts its blocks, and the layers in each block."""
    table = found("T5")[2]
    assert table.spaces["encoder.block.1.layer.0.SelfAttention.q.dims"].within == ("encoder.block.0.layer.0.SelfAttention.q.heads",)
    assert "encoder.block.1.layer.1.DenseReluDense.wi" in table.spaces
    assert str(table.layouts["decoder.block.0.layer.1.EncDecAttention.q.weight"].axes[0][0][0]).startswith("decoder.block.0.layer.1")


@pytest.mark.parametrize("name", ["Mixtral", "Mixtral, a loop"])
def test_experts(name: str) -> None:
    """Their inner units have one order, in which gates, ups and downs agree; the experts themselves, and the router's rows, stay."""
    table, experts = found(name)[2], "model.layers.0.mlp.experts"
    lines = [line.replace(experts, "E") for line in str(table).splitlines()]
    assert "E.gate_up_proj : 3 (2 E) <- model.embed_tokens" in lines and "E.down_proj : 3 model.embed_tokens <- E" in lines
    assert "model.layers.0.mlp.gate.weight : 3 <- model.embed_tokens" in lines


def test_what_fused_heads_cost_is_said() -> None:
    notes = found("GPTNeoX")[2].notes
    assert any("keep their places there: they are stored head by head" in note and "query_key_value.weight" in note for note in notes)
    assert not found("Falcon 7B")[2].notes


def test_the_residual_stream_is_one_space() -> None:
    table = found("Llama")[2]
    assert {use.tensor for use in table.uses("model.embed_tokens")} >= {"lm_head.weight", "model.norm.weight", "model.layers.1.mlp.down_proj.weight"}


def test_without_saying_which_outputs_count_all_do() -> None:
    """T5 returns what its encoder puts out; so the stream of the encoder, which is the tied embedding's, stays."""
    model, example, _ = found("T5")
    table = axes(model, example)
    assert not any(use.tensor == "shared.weight" for space in table.spaces for use in table.uses(space))
    assert any(use.tensor.startswith("decoder") for space in table.spaces for use in table.uses(space))


def test_rows_of_a_table_in_the_language() -> None:
    text = str(found("Llama")[2]).splitlines()
    q = "model.layers.*.self_attn.q_proj"
    assert f"{q}.weight : ({q}.heads {q}.queries 2) <- model.embed_tokens" in text
    assert f"model.layers.*.self_attn.k_proj.weight : ({q}.heads 2) <- model.embed_tokens" in text
    assert f"model.layers.*.self_attn.o_proj.weight : model.embed_tokens <- ({q}.heads {q}.queries model.layers.*.self_attn.v_proj.dims)" in text
