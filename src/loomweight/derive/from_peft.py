"""Adapters of PEFT as derived weights.

Paper: Low-Rank Adapters Meet Neural Architecture Search for LLM Compression (2025, https://arxiv.org/abs/2501.16372), section 2.2,
SparsePEFT. Original code: SQFT in https://github.com/IntelLabs/Hardware-Aware-Automated-Machine-Learning.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ..errors import BadParameter
from .derive import derive
from .low_rank import LowRank


def from_peft(model: Any, *, sparse: bool = False) -> nn.Module:
    """The base model of a PEFT model with LoRA, each adapted weight a `LowRank` sum of what the base and its adapter hold.

    used = weight + scaling B A; with `sparse`, weight + (scaling B A where weight != 0): trained so, an adapter on a pruned base leaves
    its zeros alone, and the exported or folded model is as sparse as the base. Ranks may be elastic (`rank * : 2 4 8`).

    Args:
        model: of `peft.get_peft_model`; it is taken apart.
        sparse: keep the zeros of the base's weights.

    Returns:
        The base model; base weights are frozen, adapters are trained.

    Raises:
        BadParameter: there is no LoRA, an adapter has dropout, a bias, a magnitude (DoRA), company, or sits on something other than a
            linear layer, or is merged already.
    """
    if not hasattr(model, "get_base_model"):
        raise BadParameter(f"{type(model).__name__} is no model of PEFT; give what `peft.get_peft_model` returned.")
    base = model.get_base_model()
    layers = {name: module for name, module in base.named_modules() if hasattr(module, "lora_A")}
    if not layers:
        raise BadParameter("the model of PEFT has no LoRA layer.")
    if bad := [f"{name} {why}" for name, layer in layers.items() for why in _reasons(layer)]:
        raise BadParameter(f"{bad[0]}; a sum of weights cannot stand for that.")
    for name, layer in layers.items():
        base.set_submodule(name, layer.base_layer)
        down, up, scale = _adapter(layer)
        low = derive(base, f"{name}.weight", LowRank(layer.base_layer.weight, len(down), scale, sparse=sparse))
        low.down, low.up = nn.Parameter(down.detach().clone()), nn.Parameter(up.detach().clone())
    return base


def _reasons(layer: Any) -> Iterator[str]:
    """What hinders it."""
    adapters = list(layer.lora_A)
    if isinstance(layer.base_layer, nn.Embedding) or getattr(layer.base_layer, "weight", None) is None or layer.base_layer.weight.ndim != 2:
        yield f"adapts {type(layer.base_layer).__name__}, which is no linear layer"
        return
    if len(adapters) != 1:
        yield f"has {len(adapters)} adapters"
        return
    (name,) = adapters
    if getattr(layer.lora_dropout[name], "p", 0):
        yield "has dropout in front of its adapter"
    if layer.merged:
        yield "is merged already"
    if layer.use_dora.get(name) or getattr(layer.lora_B[name], "bias", None) is not None:
        yield "has a magnitude or a bias beside its adapter"


def _adapter(layer: Any) -> tuple[Tensor, Tensor, float]:
    """down (rank, in), up (out, rank), as the weight is stored."""
    (name,) = layer.lora_A
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    return (up.t(), down.t(), layer.scaling[name]) if layer.fan_in_fan_out else (down, up, layer.scaling[name])
