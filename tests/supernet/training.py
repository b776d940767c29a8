"""Small elastic models and gradients by hand, for tests of how supernets are trained."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from loomweight.supernet import Elastic, elastic


def mlp(seed: int = 0, dropout: float = 0.0, space: str = "width 0 : 2 4 8\nwidth 3 : 3 6") -> Elastic:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    return elastic(model, space, torch.zeros(2, 5))


def batch(seed: int = 1, size: int = 7) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(size, 5, generator=random), torch.randint(3, (size,), generator=random)


def gradients(net: Elastic) -> dict[str, Tensor]:
    """Of whole tensors, whatever parts they are kept in: what subnets left since gradients were cleared."""
    found = {}
    for name, one in net.stored().items():
        whole = torch.zeros_like(one.tensor)
        for leaf in one.with_gradient():
            leaf.view(whole).add_(leaf.tensor.grad)
        found[name] = whole
    return found


def by_masks(net: Elastic, values: dict, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The subnet of `mlp` computed without slices: units that are not in use are multiplied by 0. Outputs, and the tensors to ask gradients of."""
    weights = {name: tensor.clone().requires_grad_() for name, tensor in net.state_dict().items()}
    first = torch.arange(8) < values.get("width 0", 8)
    second = torch.arange(6) < values.get("width 3", 6)
    hidden = torch.tanh(inputs @ weights["0.weight"].T + weights["0.bias"]) * first
    hidden = torch.tanh(hidden @ weights["3.weight"].T + weights["3.bias"]) * second
    return hidden @ weights["5.weight"].T + weights["5.bias"], weights


def deep(layers: int = 6, seed: int = 0) -> Elastic:
    """Many fields, so that costs of uniformly drawn subnets lie close together."""
    torch.manual_seed(seed)
    model = nn.Sequential(*(module for i in range(layers) for module in (nn.Linear(5 if i == 0 else 16, 16), nn.Tanh())), nn.Linear(16, 3))
    return elastic(model, "\n".join(f"width {2 * i} : 2 6 10 16" for i in range(layers)), torch.zeros(2, 5))


def params(net: Elastic, values: dict) -> float:
    """Of `deep`, without measuring."""
    sizes = [5, *values.values(), 3]
    return float(sum(after * (before + 1) for before, after in pairwise(sizes)))
