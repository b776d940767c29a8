"""Tiny Llama-shaped models whose weights follow from a formula: the same numbers on every machine, whatever made them."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

VOCAB, HIDDEN, INNER, LAYERS = 12, 8, 10, 4
MODELS = {"base": 0.0, "one": 0.1, "two": 0.1, "three": 0.2}

SHAPES = {
    "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
    "self_attn.k_proj.weight": (HIDDEN, HIDDEN),
    "self_attn.v_proj.weight": (HIDDEN, HIDDEN),
    "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
    "mlp.gate_proj.weight": (INNER, HIDDEN),
    "mlp.up_proj.weight": (INNER, HIDDEN),
    "mlp.down_proj.weight": (HIDDEN, INNER),
    "input_layernorm.weight": (HIDDEN,),
    "post_attention_layernorm.weight": (HIDDEN,),
}


def shapes() -> dict[str, tuple[int, ...]]:
    layers = {f"model.layers.{i}.{rest}": shape for i in range(LAYERS) for rest, shape in SHAPES.items()}
    return {"model.embed_tokens.weight": (VOCAB, HIDDEN), **layers, "model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN)}


def noise(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers between -1 and 1: a multiplicative hash of (key, position), no generator's stream."""
    mask = 2**64 - 1
    seed = 14695981039346656037
    for char in key.encode():
        seed = ((seed ^ char) * 1099511628211) & mask
    found = []
    for i in range(int(np.prod(shape))):
        x = (seed + (i + 1) * 0x9E3779B97F4A7C15) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        found.append((x ^ (x >> 31)) / 2**63 - 1)
    return torch.tensor(found, dtype=torch.float64).reshape(shape)


def tensors(model: str) -> dict[str, torch.Tensor]:
    """A fine-tune is the base plus a small difference; the base's numbers are the same in all."""
    size = MODELS[model]
    return {name: (noise(name, shape) + size * noise(f"{model}/{name}", shape)).float() for name, shape in shapes().items()}


def write_models(folder: Path) -> None:
    """Every model as a folder that mergekit and loomweight load."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_hidden_layers": LAYERS,
        "vocab_size": VOCAB,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }
    for model in MODELS:
        (folder / model).mkdir(parents=True)
        (folder / model / "config.json").write_text(json.dumps(config))
        save_file(tensors(model), folder / model / "model.safetensors", metadata={"format": "pt"})


def fingerprint(tensor: torch.Tensor) -> list[float]:
    """Three numbers that pin a tensor down: its sum, its sum of squares, and its product with a fixed ramp."""
    flat = tensor.double().reshape(-1)
    ramp = torch.cos(torch.arange(len(flat), dtype=torch.float64))
    return [float(f"{value:.9g}") for value in (flat.sum(), flat.square().sum(), flat @ ramp)]
