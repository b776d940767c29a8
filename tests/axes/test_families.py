"""The shipped tables say what tracing says, for tiny models of the same configs, as they are stored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.errors import BadParameter, NamesDiffer, ShapesDiffer, UnknownName
from loomweight.weights.axes import Axes, axes, axes_of, family_table, verify
from loomweight.weights.axes.families import FAMILIES

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")

IDS = {"input_ids": torch.arange(3, 10)[None]}
PIXELS = {"pixel_values": torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)}
PAIR = {**IDS, "decoder_input_ids": torch.arange(4)[None]}
LLAMA: dict[str, Any] = {
    "vocab_size": 30, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 32, "pad_token_id": 0,
}  # fmt: skip
BERT: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS: dict[str, Any] = {"vocab_size": 30, "max_position_embeddings": 20}
GPT2: dict[str, Any] = {"vocab_size": 30, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 0}
DISTIL: dict[str, Any] = {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, **WORDS}
T5: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 2, "num_decoder_layers": 2, "vocab_size": 30}

#: class, its config's class, sizes, inputs
MODELS: dict[str, tuple[str, str, dict[str, Any], dict[str, Tensor]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", LLAMA, IDS),
    "llama tied": ("LlamaForCausalLM", "LlamaConfig", LLAMA | {"tie_word_embeddings": True}, IDS),
    "llama without groups": ("LlamaForCausalLM", "LlamaConfig", LLAMA | {"num_key_value_heads": 4}, IDS),
    "llama with one key": ("LlamaForCausalLM", "LlamaConfig", LLAMA | {"num_key_value_heads": 1}, IDS),
    "llama with biases": ("LlamaForCausalLM", "LlamaConfig", LLAMA | {"attention_bias": True, "mlp_bias": True}, IDS),
    "llama that classifies": ("LlamaForSequenceClassification", "LlamaConfig", LLAMA, IDS),
    "llama without a head": ("LlamaModel", "LlamaConfig", LLAMA, IDS),
    "mistral": ("MistralForCausalLM", "MistralConfig", LLAMA, IDS),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", LLAMA | {"tie_word_embeddings": True}, IDS),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", LLAMA | {"head_dim": 6}, IDS),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", LLAMA | {"head_dim": 4}, IDS),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", LLAMA | {"head_dim": 4}, IDS),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", LLAMA | {"head_dim": 4}, IDS),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2, IDS),
    "gpt2 with one head": ("GPT2LMHeadModel", "GPT2Config", GPT2 | {"n_head": 1}, IDS),
    "gpt2 that classifies": ("GPT2ForSequenceClassification", "GPT2Config", GPT2, IDS),
    "gpt2 without a head": ("GPT2Model", "GPT2Config", GPT2, IDS),
    "bert": ("BertForMaskedLM", "BertConfig", BERT | WORDS, IDS),
    "bert that classifies": ("BertForSequenceClassification", "BertConfig", BERT | WORDS, IDS),
    "bert for tokens": ("BertForTokenClassification", "BertConfig", BERT | WORDS, IDS),
    "bert without a head": ("BertModel", "BertConfig", BERT | WORDS, IDS),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", BERT | WORDS, IDS),
    "roberta that classifies": ("RobertaForSequenceClassification", "RobertaConfig", BERT | WORDS, IDS),
    "distilbert": ("DistilBertForMaskedLM", "DistilBertConfig", DISTIL, IDS),
    "distilbert that classifies": ("DistilBertForSequenceClassification", "DistilBertConfig", DISTIL, IDS),
    "vit": ("ViTForImageClassification", "ViTConfig", BERT | {"image_size": 8, "patch_size": 4}, PIXELS),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5 | {"decoder_start_token_id": 0}, PAIR),
    "t5 gated": ("T5ForConditionalGeneration", "T5Config", T5 | {"feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0}, PAIR),
    "t5 encoder": ("T5EncoderModel", "T5Config", T5, IDS),
}


def logits(model: nn.Module, inputs: Any, output: Any) -> Any:
    """A hook that keeps what counts: logits where there are some, else all tensors."""
    found = dict(output)
    return found["logits"] if "logits" in found else {key: value for key, value in found.items() if isinstance(value, Tensor)}


def built(name: str) -> tuple[Any, dict[str, Tensor]]:
    kind, config_kind, sizes, inputs = MODELS[name]
    config = getattr(transformers, config_kind)(**sizes)
    config.use_cache = False
    model = getattr(transformers, kind)(config).eval()
    model.config.architectures = [kind]
    model.register_forward_hook(logits)
    return model, inputs


def renamed(table: Axes, *, without: tuple[str, ...] = ()) -> list[str]:
    """The table with spaces numbered in the order in which they are met: two that agree but for names are equal."""
    numbers: dict[str, str] = {}
    lines = []
    for name, layout in sorted(table.layouts.items()):
        if name in without:
            continue
        words = [[[_word(table, factor, numbers) for factor in term] for term in axis] for axis in layout.axes]
        lines.append(f"{name} {words} {layout.consumed}")
    return lines


def _word(table: Axes, factor: int | str, numbers: dict[str, str]) -> str:
    if isinstance(factor, int):
        return str(factor)
    space = table.spaces[factor]
    number = numbers.setdefault(factor, str(len(numbers)))
    return f"space {number} of {space.size} in {[numbers.get(parent) for parent in space.within]}"


#: these are traced in the quick suite, the others in the slow one
QUICK = {"llama", "llama with one key", "qwen2", "gpt2", "bert", "bert without a head", "roberta", "distilbert", "vit", "t5"}


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS])
def test_a_table_is_what_tracing_finds(name: str) -> None:
    model, inputs = built(name)
    traced = axes(model, inputs)
    told = axes_of(lw.load(model), model.config.to_dict())
    assert renamed(told) == renamed(traced)
    assert told.spaces


@pytest.mark.parametrize(
    "name", ["gpt2", pytest.param("llama", marks=pytest.mark.slow), pytest.param("bert", marks=pytest.mark.slow), pytest.param("t5", marks=pytest.mark.slow)]
)
def test_a_table_proves_itself(name: str) -> None:
    model, inputs = built(name)
    assert max(verify(axes_of(lw.load(model), model.config.to_dict()), model, inputs).values()) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_is_enough_under_the_names_that_it_stores(name: str, tmp_path: Path) -> None:
    model, _ = built(name)
    model.save_pretrained(tmp_path)
    told = axes_of(tmp_path)
    told.fits(lw.load(tmp_path))
    assert {told.shape(space) for space in told.spaces} == {
        table.shape(space) for table in [axes_of(lw.load(model), model.config.to_dict())] for space in table.spaces
    }


def untied_bert() -> tuple[nn.Module, dict[str, Tensor]]:
    config = transformers.BertConfig(**BERT, **WORDS, tie_word_embeddings=False)
    model = transformers.BertForMaskedLM(config).eval()
    model.config.architectures = ["BertForMaskedLM"]
    model.register_forward_hook(logits)
    return model, IDS


def test_an_output_layer_of_its_own_frees_the_units_before_it() -> None:
    model, inputs = untied_bert()
    told = axes_of(lw.load(model), model.config.to_dict())  # type: ignore[operator]
    unused = "cls.predictions.bias"  # a copy of the decoder's in tied models; nothing reads it here, so tracing leaves it free
    assert renamed(told, without=(unused,)) == renamed(axes(model, inputs), without=(unused,))
    assert told.spaces["cls.predictions.transform"].size == 16


def test_every_family_is_compared() -> None:
    compared = {getattr(transformers, config)().model_type for _, config, _, _ in MODELS.values()}
    assert {kind for kind, family in FAMILIES.items() if family not in {FAMILIES[kind] for kind in compared}} == set()


def test_a_table_of_the_text_alone() -> None:
    sizes = {"hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2}
    text = family_table({"model_type": "llama", "architectures": ["LlamaForCausalLM"], **sizes})
    assert text and "model.layers.*.self_attn.heads = 2\n" in text and "model.layers.*.self_attn.groups = 2 in model.layers.*.self_attn.heads" in text
    assert family_table({"model_type": "mamba"}) is None


def changed(**more: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda config: {key: value for key, value in (config | more).items() if value != "gone"}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (changed(num_attention_heads="gone"), BadParameter, "lacks num_attention_heads"),
        (changed(num_attention_heads=0), BadParameter, "num_attention_heads = 0"),
        (changed(num_attention_heads=3, head_dim="gone"), BadParameter, "3 heads and a width of 16"),
        (changed(num_key_value_heads=4), ShapesDiffer, "k_proj"),
        (changed(model_type="mamba"), UnknownName, "no axes table for model_type 'mamba'; there are bert, .*llama"),
        (changed(model_type="gone"), UnknownName, "no axes table for model_type None"),
        (changed(model_type="gpt2", n_head=4, n_embd=16), NamesDiffer, "says nothing of"),
    ],
)
def test_a_config_that_does_not_fit(change: Callable[[dict[str, Any]], dict[str, Any]], error: type[Exception], says: str, tmp_path: Path) -> None:
    model, _ = built("llama")
    model.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(change(json.loads(config.read_text()))))
    with pytest.raises(error, match=says):
        axes_of(tmp_path)


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    lw.save({"w": torch.ones(2)}, tmp_path / "out")
    with pytest.raises(UnknownName, match=r"out has no config\.json that tells its family; give the model"):
        axes_of(tmp_path / "out")
