"""Of two low-rank factors one is pooled and one stays with its client.

Paper: Selective Aggregation for Low-Rank Adaptation in Federated Learning (2024, https://arxiv.org/abs/2410.01463), section 3.2.

Read: Pengxin-Guo/FedSA-LoRA at fc276b5, federatedscope/glue/model/model_builder.py and glue/yamls/fedsa-lora.yaml: what has `lora_A` or `vera_lambda_d` in its
name is shared; `lora_B` and the classifier are local there, and `head` says so here.
"""

from typing import Literal

from torch import nn

from ...errors import UnknownName
from ...weights.names import listed

_SHARED = ("lora_A.", "lora_embedding_A.", "vera_lambda_d.")
_LOCAL = ("lora_B.", "lora_embedding_B.", "vera_lambda_b.")


def fedsa_lora(model: nn.Module, head: Literal["local", "pool"] = "local") -> dict[str, str]:
    """`tensors` of a strategy for a model with PEFT's adapters: A is pooled and B is local, of LoRA and of rsLoRA, which is another scale; of VeRA d and b.

    Args:
        model: with adapters that were just made, and a frozen base.
        head: what becomes of other parameters that are trained, such as a classifier's.

    Raises:
        UnknownName: the model has no adapters of these kinds.

    >>> layer = nn.Module()
    >>> layer.lora_A, layer.lora_B = (nn.ModuleDict({"default": nn.Linear(2, 2, bias=False)}) for _ in "AB")
    >>> fedsa_lora(layer)
    {'lora_A.default.weight': 'pool', 'lora_B.default.weight': 'local', '*': 'keep'}
    """
    trained = [name for name, tensor in model.named_parameters() if tensor.requires_grad]
    shared = [name for name in trained if _of(name, _SHARED)]
    if not shared:
        raise UnknownName(f"fedsa_lora: no trained parameter is a factor A of LoRA or d of VeRA; trained are {listed(trained)}.")
    return {name: "pool" if _of(name, _SHARED) else "local" if _of(name, _LOCAL) else head for name in trained} | {"*": "keep"}


def _of(name: str, kinds: tuple[str, ...]) -> bool:
    return any(f".{kind}" in f".{name}" for kind in kinds)
