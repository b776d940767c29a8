"""A frozen network with low-rank adapters whose tensors are called as PEFT's are."""

import torch
from torch import Tensor, nn


class Adapted(nn.Module):
    """y = W x + scale B A x, with W and its bias frozen."""

    def __init__(self, base: nn.Linear, rank: int, scale: float = 2.0) -> None:
        super().__init__()
        self.base_layer, self.scale = base.requires_grad_(False), scale
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base.in_features, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, base.out_features, bias=False)})
        nn.init.zeros_(self.lora_B["default"].weight)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.base_layer(inputs) + self.scale * self.lora_B["default"](self.lora_A["default"](inputs))


def adapted(rank: int = 1, features: int = 4, width: int = 6) -> nn.Sequential:
    """Always the same; another rank has the same base."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        base = nn.Linear(features, width), nn.Linear(width, 2)
        return nn.Sequential(Adapted(base[0], rank), nn.Tanh(), Adapted(base[1], rank))
