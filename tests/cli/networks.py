"""Models for the commands: small networks as a user's module would make them, and checkpoints that are permuted copies."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.edits import Permute
from loomweight.weights.axes import Axes, axes, random_orders

#: a user's module, to be written into the working folder
SOURCE = """
import torch
from torch import nn

def mlp(): return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
def wide(): return nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2))
def deep(): return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
def inputs(): return torch.linspace(-1, 1, 6).reshape(2, 3)
def batches(): return [torch.randn(16, 3, generator=torch.Generator().manual_seed(i)) for i in range(3)]
def words(): return "a b c"
def number(): return 3
def fails(): raise ValueError("no such luck")
def longer(): return torch.zeros(2, 4)
class Sorted(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2)
    def forward(self, x): return self.last(self.second(self.first(x).relu()).sort(-1).values)
model = mlp()
"""
TABLE = "0.weight : hidden <- 3\n0.bias : hidden\n2.weight : 2 <- hidden\n2.bias : 2\n"


def mlp(width: int = 8, seed: int = 0, depth: int = 1) -> nn.Module:
    """The same network as in SOURCE, with numbers of its own; of other width or depth."""
    inner = [layer for _ in range(depth - 1) for layer in (nn.Linear(width, width), nn.ReLU())]
    model = nn.Sequential(nn.Linear(3, width), nn.ReLU(), *inner, nn.Linear(width, 2))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def table(width: int = 8) -> Axes:
    """Its axes."""
    return axes(mlp(width), torch.zeros(1, 3))


def shuffled(weights: lw.Weights, by: Axes, seed: int = 1) -> lw.Weights:
    """The same network, its units in another order."""
    return Permute.by(by, random_orders(by, seed))(weights)


def write_networks(folder: Path) -> None:
    """`a`, its shuffled copy `b`, another network `c`, a wider one `wide`, a deeper one `deep`; the module `nets`, and `hand.axes`."""
    a = lw.load(mlp())
    others = {"c": lw.load(mlp(seed=2)), "wide": lw.load(mlp(16, seed=3)), "deep": lw.load(mlp(seed=4, depth=2))}
    for name, weights in {"a": a, "b": shuffled(a, table()), **others}.items():
        lw.save(weights, folder / name)
    (folder / "nets.py").write_text(SOURCE)
    (folder / "hand.axes").write_text(TABLE)


def tiny(kind: str, folder: Path, **sizes: Any) -> nn.Module:
    """A model of Transformers, saved with its config."""
    import transformers

    config = getattr(transformers, kind.replace("ForCausalLM", "Config").replace("LMHeadModel", "Config"))(**sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = getattr(transformers, kind)(config).eval()
    model.save_pretrained(folder)
    return model


def same(left: Tensor, right: Tensor) -> bool:
    """Equal but for rounding."""
    return bool(torch.allclose(left, right, atol=1e-5))
