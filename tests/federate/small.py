"""A small federation: three clients, a linear model, and what it is worth."""

from functools import partial

import torch
from torch import Tensor, nn

from loomweight.federate import Local

Data = tuple[Tensor, Tensor]


def clients(count: int = 3, examples: int = 12, features: int = 4) -> dict[str, Data]:
    """Clients whose data come from one linear law with noise, and differ in size."""
    generator = torch.Generator().manual_seed(7)
    law = torch.randn(features, 2, generator=generator)
    found = {}
    for i in range(count):
        inputs = torch.randn(examples + i, features, generator=generator)
        found[f"c{i}"] = (inputs, (inputs @ law).argmax(1))
    return found


def model(features: int = 4) -> nn.Module:
    """A linear model, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Linear(features, 2)


def deep(features: int = 4) -> nn.Module:
    """With BatchNorm and dropout: buffers, integers, and random numbers in the forward pass."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(features, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, 2))


def whole_batch(rate: float = 0.5, steps: int = 1) -> Local:
    """Gradient descent on all of a client's data."""
    return Local(steps=steps, batch=10_000, optimizer=partial(torch.optim.SGD, lr=rate), shuffle=False)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
