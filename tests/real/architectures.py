"""Tiny models of real architectures, built by Transformers from its configs, with something to feed them."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")

WORDS = 60
DEEP = 3


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Args:
        build: a model of random weights.
        feed: keyword arguments for its forward.
        ties: alias -> the name whose tensor it shares.
        output: the field of what forward returns.
    """

    name: str
    build: Callable[[], Any]
    feed: Callable[[], dict[str, Tensor]]
    ties: Mapping[str, str]
    output: str = "logits"

    def __repr__(self) -> str:
        return self.name

    @property
    def base(self) -> Any:
        """The model of seed 0: no parameter is left at a constant, so that every one of them counts."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.build()
        return noisy(model, 0, 0.05)

    def tuned(self, seed: int) -> Any:
        """The base and a little noise: what fine-tuning leaves."""
        return noisy(self.base, seed, 0.03)

    def answer(self, model: Any) -> Tensor:
        """What the model says about the input."""
        with torch.inference_mode():
            return getattr(model.eval()(**self.feed()), self.output).float()


def noisy(model: Any, seed: int, size: float) -> Any:
    """A copy with normal noise on every parameter; a shared one is moved once."""
    moved, generator = copy.deepcopy(model), torch.Generator().manual_seed(1000 + seed)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator)
    return moved


def ids(rows: int = 2, length: int = 7, seed: int = 5) -> Tensor:
    """Token numbers; the last of each row is the largest number of all, where CLIP looks for the end of a text."""
    found = torch.randint(3, WORDS - 1, (rows, length), generator=torch.Generator().manual_seed(seed))
    found[:, -1] = WORDS - 1
    return found


def text() -> dict[str, Tensor]:
    return {"input_ids": ids()}


def text_to_text() -> dict[str, Tensor]:
    return {"input_ids": ids(), "decoder_input_ids": ids(length=4, seed=6)}


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


LLAMA_LIKE = {
    "vocab_size": WORDS, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": DEEP, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32,
}  # fmt: skip
BERT_LIKE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": DEEP, "num_attention_heads": 2}


def llama(**more: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA_LIKE | more))


def qwen2() -> Any:
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**LLAMA_LIKE, tie_word_embeddings=True))


def mistral() -> Any:
    return transformers.MistralForCausalLM(transformers.MistralConfig(**LLAMA_LIKE, sliding_window=4))


def gemma() -> Any:
    return transformers.GemmaForCausalLM(transformers.GemmaConfig(**LLAMA_LIKE, head_dim=4))


def mixtral() -> Any:
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**LLAMA_LIKE, num_local_experts=4, num_experts_per_tok=2))


def gpt2() -> Any:
    special = {"bos_token_id": 2, "eos_token_id": 2}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=WORDS, n_embd=16, n_layer=DEEP, n_head=2, n_positions=32, **special))


def bert() -> Any:
    return transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=WORDS, max_position_embeddings=32, **BERT_LIKE))


def t5() -> Any:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": DEEP, "num_decoder_layers": 2}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=WORDS, **sizes, tie_word_embeddings=True))


def vit() -> Any:
    return transformers.ViTForImageClassification(transformers.ViTConfig(image_size=8, patch_size=4, num_labels=5, **BERT_LIKE))


def clip() -> Any:
    words = {"vocab_size": WORDS, "max_position_embeddings": 16, "eos_token_id": WORDS - 1, "bos_token_id": 0, "pad_token_id": 1}
    picture = {"image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(
        text_config=transformers.CLIPTextConfig(**words, **BERT_LIKE).to_dict(),
        vision_config=transformers.CLIPVisionConfig(**picture, **BERT_LIKE | {"num_hidden_layers": 2}).to_dict(),
        projection_dim=8,
    )
    return transformers.CLIPModel(config)


def whisper() -> Any:
    sizes = {"encoder_layers": DEEP, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 16}
    widths = {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "num_mel_bins": 6, "max_source_positions": 10, "max_target_positions": 12}
    special = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2, "decoder_start_token_id": 2}
    return transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(vocab_size=WORDS, **sizes, **widths, **special))


def picture() -> dict[str, Tensor]:
    return {"pixel_values": normal(2, 3, 8, 8)}


def sound() -> dict[str, Tensor]:
    return {"input_features": normal(2, 6, 20), "decoder_input_ids": ids(length=4)}


HEAD = {"lm_head.weight": "model.embed_tokens.weight"}
T5_TIES = dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), "shared.weight")
BERT_TIES = {"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.bias": "cls.predictions.bias"}

LLAMA = Architecture("llama", llama, text, {})
T5 = Architecture("t5", t5, text_to_text, T5_TIES)
CLIP = Architecture("clip", clip, lambda: text() | picture(), {}, "logits_per_image")
WHISPER = Architecture("whisper", whisper, sound, {"proj_out.weight": "model.decoder.embed_tokens.weight"})
MIXTRAL = Architecture("mixtral", mixtral, text, {})

ALL = (
    LLAMA,
    Architecture("qwen2", qwen2, text, HEAD),
    Architecture("mistral", mistral, text, {}),
    Architecture("gemma", gemma, text, HEAD),
    Architecture("gpt2", gpt2, text, {"lm_head.weight": "transformer.wte.weight"}),
    Architecture("bert", bert, text, BERT_TIES),
    T5,
    Architecture("vit", vit, picture, {}),
    CLIP,
    WHISPER,
    MIXTRAL,
)
