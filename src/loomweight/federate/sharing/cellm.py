"""Sparse low-rank updates, up and down.

Paper: CELLM: An Efficient Communication in Large Language Models Training for Federated Learning (2024, https://arxiv.org/abs/2407.20557).

Its full text was not to be had; read instead: imkevinkuo/flasc at 17c7063, train_sparse_lora_dp.py, code of the method of the same thesis (LoRA weights of
which the largest go down, trained densely, and the largest entries of the update go up). There the largest are taken over all adapters together; here of each
tensor, so that no factor stays out.
"""

from dataclasses import replace

from torch import nn

from ...errors import UnknownName
from ..messages import Down, TopK
from ..strategy import Strategy


def cellm(strategy: Strategy, model: nn.Module, up: float = 0.25, down: float = 0.25) -> Strategy:
    """The strategy with adapters alone on their way, each tensor by its largest entries; clients train all entries. `strategy.aggregate` makes the step.

    A place costs 4 bytes beside a value, so a share above a half of float32 entries costs more than all of them.

    Args:
        strategy: with its settings; further parts of its message follow.
        model: with adapters that were just made, and a frozen base.
        up: share of entries that go up.
        down: share of entries that go down.

    Raises:
        UnknownName: the model has no adapters as PEFT calls them.
        BadParameter: a share outside (0, 1].

    >>> layer = nn.Module()
    >>> layer.lora_A = nn.Linear(2, 2, bias=False)
    >>> cellm(Strategy(), layer, up=0.1).message
    (TopK(share=0.1), Down(part=TopK(share=0.25)))
    """
    if not any("lora_" in name and tensor.requires_grad for name, tensor in model.named_parameters()):
        raise UnknownName("cellm: no trained parameter of the model is called *lora_*; put PEFT's adapters into it first.")
    table = {name: "pool" for name, tensor in model.named_parameters() if tensor.requires_grad} | {"*": "keep"}
    return replace(strategy, tensors=table, message=(TopK(up), *strategy.parts, Down(TopK(down))))
