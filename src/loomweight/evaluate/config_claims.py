"""Does a `config.json` tell the truth about the tensors beside it?"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..weights import Weights

_EMBEDDINGS = r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|shared)\.weight$"
#: keys of a config -> (pattern of tensor names, axis) whose size they state
_CLAIMS: tuple[tuple[tuple[str, ...], str, int], ...] = (
    (("vocab_size",), _EMBEDDINGS, 0),
    (("hidden_size", "n_embd", "d_model"), _EMBEDDINGS, 1),
    (("intermediate_size",), r"\.mlp\.(up|gate)_proj\.weight$", 0),
    (("intermediate_size",), r"\.layer\.\d+\.intermediate\.dense\.weight$", 0),
    (("d_ff",), r"\.DenseReluDense\.wi(_0)?\.weight$", 0),
)
_DEPTH = ("num_hidden_layers", "n_layer", "num_layers")
_LAYER = re.compile(r"^(?P<stack>(?:.*?\.)??(?:layers|layer|h|block|blocks))\.(?P<number>\d+)\.")


def broken_claims(config: Mapping[str, Any], weights: Weights) -> list[str]:
    """Each statement of the config about sizes or depth that the tensors contradict, as a sentence; [] where there is none.

    Only statements that can be checked by names are: vocabulary, hidden and intermediate size, number of layers. Models with
    an embedding narrower than their hidden size, and configs made of several configs, make no such statement.

    >>> import torch
    >>> w = Weights.of({"model.embed_tokens.weight": torch.zeros(10, 4), "model.layers.0.mlp.up_proj.weight": torch.zeros(8, 4)})
    >>> broken_claims({"hidden_size": 5, "num_hidden_layers": 1}, w)
    ["config.json says hidden_size = 5, but 'model.embed_tokens.weight' has shape (10, 4)"]
    """
    if "embedding_size" in config or "word_embed_proj_dim" in config:
        config = {key: value for key, value in config.items() if key != "hidden_size"}
    return [*_sizes(config, weights), *_depth(config, weights)]


def _sizes(config: Mapping[str, Any], weights: Weights) -> Iterator[str]:
    for keys, pattern, axis in _CLAIMS:
        key = next((key for key in keys if type(config.get(key)) is int), None)
        if key is None:
            continue
        for name in [name for name in weights.names if re.search(pattern, name)]:
            shape = weights.spec[name].shape
            if len(shape) == 2 and shape[axis] != config[key]:
                yield f"config.json says {key} = {config[key]}, but {name!r} has shape {shape}"
                break


def _depth(config: Mapping[str, Any], weights: Weights) -> Iterator[str]:
    stacks: dict[str, set[int]] = {}
    for name in weights.names:
        if found := _LAYER.match(name):
            stacks.setdefault(found["stack"], set()).add(int(found["number"]))
    key = next((key for key in _DEPTH if type(config.get(key)) is int), None)
    depths = {stack: max(numbers) + 1 for stack, numbers in stacks.items()}
    if key and depths and config[key] not in depths.values():
        yield f"config.json says {key} = {config[key]}, but the tensors have {', '.join(f'{depth} layers in {stack!r}' for stack, depth in depths.items())}"
