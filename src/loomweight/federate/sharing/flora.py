"""A strategy with stacked adapters.

Paper: FLoRA: Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank Adaptations (2024, https://arxiv.org/abs/2409.05976).
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from ...errors import UnknownName
from ..messages import Only
from ..pooling.flora import FLoRA, layers_of
from ..strategy import Strategy


def flora(strategy: Strategy, model: nn.Module, ranks: Mapping[str, int] | None = None, scale: float = 2.0, seed: int = 0) -> Strategy:
    """The strategy with FLoRA's aggregate: factors alone go up, of any rank; the base, into which they were added, comes down.

    Other parameters that are trained, such as a head's, are averaged by examples. At the end the server's adapters are zero: its base is the model.

    Args:
        strategy: with its settings; parts of its message see the factors alone.
        model: of the server, with PEFT's LoRA in linear layers or convolutions, just made, and a frozen base.
        ranks: client -> rank, where its model in `World(models=...)` has another than the server's.
        scale: of the adapters, lora_alpha / r, alike for all clients: choose lora_alpha = scale r.
        seed: of the new factors.

    Raises:
        UnknownName: the model has no such adapters.

    >>> layer = nn.Module()
    >>> layer.base_layer = nn.Linear(2, 2).requires_grad_(False)
    >>> layer.lora_A, layer.lora_B = (nn.ModuleDict({"default": nn.Linear(2, 2, bias=False)}) for _ in "AB")
    >>> flora(Strategy(), layer).message
    (Only(patterns=('lora_A.default.weight', 'lora_B.default.weight')),)
    """
    state = dict(model.named_parameters())
    layers = [layer for layer in layers_of(state) if all(name in state for name in layer)]
    if not layers:
        raise UnknownName("flora: the model has no layer with lora_A, lora_B and base_layer.weight; put PEFT's adapters into it first.")
    pooled = [name for layer in layers for name in layer]
    rest = [name for name, tensor in state.items() if tensor.requires_grad and name not in pooled]
    table = dict.fromkeys(pooled, "pool") | dict.fromkeys(rest, "mean") | {"*": "keep"}
    up = tuple(name for layer in layers for name in layer[:2]) + tuple(rest)
    return replace(strategy, tensors=table, aggregate=FLoRA(ranks or {}, scale, seed), message=(Only(up), *strategy.parts))
