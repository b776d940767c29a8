"""Least squares whose clients disagree: each has its own curvature and its own optimum, and the optimum of all is known."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from loomweight.federate import Local

Data = tuple[Tensor, Tensor]
WIDTH = 3


def quadratics(count: int = 2, rows: int = 6) -> dict[str, Data]:
    """Clients with as many examples each."""
    generator = torch.Generator().manual_seed(11)
    found = {}
    for i in range(count):
        inputs = torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64) * torch.tensor([0.4, 0.8, 1.2], dtype=torch.float64).roll(i)
        law = torch.randn(WIDTH, 1, generator=generator, dtype=torch.float64) * 3
        found[f"c{i}"] = (inputs, inputs @ law + 0.1 * torch.randn(rows, 1, generator=generator, dtype=torch.float64))
    return found


def line() -> nn.Module:
    """A linear model at 0, in float64."""
    model = nn.Linear(WIDTH, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    return model


def best(data: dict[str, Data], pull: float = 0.0, towards: float = 0.0) -> Tensor:
    """The minimum of the mean over examples of squared errors, with pull/2 ||w - towards||^2 if asked: a formula."""
    inputs, targets = (torch.cat([part[i] for part in data.values()]) for i in (0, 1))
    count, one = len(inputs), torch.eye(WIDTH, dtype=torch.float64)
    return torch.linalg.solve(2 / count * inputs.T @ inputs + pull * one, 2 / count * inputs.T @ targets + pull * towards).T


def descent(steps: int, rate: float = 0.1, batch: int = 10_000) -> Local:
    """Gradient descent on squared errors."""
    return Local(steps=steps, batch=batch, optimizer=partial(torch.optim.SGD, lr=rate), loss=functional.mse_loss, shuffle=batch < 10_000)
