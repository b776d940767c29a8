"""A model that NVFlare can name, data, and a strategy."""

from functools import partial

import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.federate import Local, Strategy, nvflare_aggregator


class Net(nn.Linear):
    """Linear, from zero."""

    def __init__(self) -> None:
        super().__init__(4, 2)
        with torch.no_grad():
            self.weight.zero_()
            self.bias.zero_()


def data(number: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(24 + number, 4, generator=torch.Generator().manual_seed(number))
    return inputs, (inputs.sum(1) > 0).long()


strategy = Strategy(aggregate=lw.rules.Median(), local=Local(steps=2, batch=1000, shuffle=False, optimizer=partial(torch.optim.SGD, lr=0.5)))


class Ours(nvflare_aggregator(strategy, Net(), 2)):  # type: ignore[misc]  # a class made by a call
    """What the job names."""
