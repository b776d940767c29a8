"""Synthetic checkpoints of real layout: a base and fine-tunes of it, bf16, sharded, as a Hugging Face folder.

python bench/sets.py FOLDER --size 0.5B --models 3
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

#: hidden, intermediate, layers, vocabulary, heads
SIZES = {"tiny": (64, 128, 2, 256, 4), "0.1B": (512, 2048, 16, 32000, 8), "0.5B": (1024, 4096, 24, 32000, 16), "1.5B": (2048, 5632, 26, 32000, 16)}


def shapes(size: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Llama model."""
    hidden, wide, layers, vocabulary, _ = SIZES[size]
    held: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for i in range(layers):
        at = f"model.layers.{i}"
        held |= {f"{at}.self_attn.{p}_proj.weight": (hidden, hidden) for p in "qkvo"}
        held |= {f"{at}.mlp.gate_proj.weight": (wide, hidden), f"{at}.mlp.up_proj.weight": (wide, hidden), f"{at}.mlp.down_proj.weight": (hidden, wide)}
        held |= {f"{at}.input_layernorm.weight": (hidden,), f"{at}.post_attention_layernorm.weight": (hidden,)}
    return held | {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def config(size: str) -> dict[str, object]:
    """A config.json that transformers takes."""
    hidden, wide, layers, vocabulary, heads = SIZES[size]
    shape = {"hidden_size": hidden, "intermediate_size": wide, "num_hidden_layers": layers, "vocab_size": vocabulary}
    heads_ = {"num_attention_heads": heads, "num_key_value_heads": heads}
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "tie_word_embeddings": False, **shape, **heads_}


def write(folder: Path, size: str, model: int, shard_bytes: int = 300 * 2**20) -> None:
    """One model of the family: the base's noise (the same for all) plus its own small noise."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    held = 0
    for name, shape in shapes(size).items():
        nbytes = 2 * torch.Size(shape).numel()
        if held and held + nbytes > shard_bytes:
            shards.append({})
            held = 0
        shards[-1][name] = shape
        held += nbytes
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: tensor(name, shape, model) for name, shape in shard.items()}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(shard, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(config(size)))


def tensor(name: str, shape: tuple[int, ...], model: int) -> torch.Tensor:
    """Base noise of 0.02, and for a fine-tune (model > 0) noise of 0.002 of its own on top."""
    seed = sum(ord(c) * 31**i for i, c in enumerate(name)) % 2**31
    base = torch.empty(shape).normal_(0, 0.02, generator=torch.Generator().manual_seed(seed))
    if model:
        base += torch.empty(shape).normal_(0, 0.002, generator=torch.Generator().manual_seed(seed + model))
    return base.bfloat16()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="0.5B", choices=SIZES)
    parser.add_argument("--models", type=int, default=3)
    options = parser.parse_args()
    for model in range(options.models):
        write(options.folder / f"m{model}", options.size, model)
        print(options.folder / f"m{model}", flush=True)
