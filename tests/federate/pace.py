"""Clients of given speeds, and the smallest problem that knows who was listened to: one number, drawn to each client's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from loomweight.federate import Local


@dataclass(frozen=True)
class Paces:
    """Seconds a task by client; who is away, by (client, round); whose tasks fail, by (client, number)."""

    seconds: Mapping[str, float]
    away: Callable[[str, int], bool] = field(default=lambda client, number: False)
    failing: Callable[[str, int], bool] = field(default=lambda client, number: False)

    def duration(self, client: str, number: int, steps: int) -> float:
        return self.seconds[client]

    def present(self, client: str, number: int) -> bool:
        return not self.away(client, number)

    def fails(self, client: str, number: int) -> bool:
        return self.failing(client, number)


class Point(nn.Module):
    """A number; its loss is half the squared distance to a client's target."""

    def __init__(self, at: float = 0.0) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([at]))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.at.expand(len(inputs), 1)


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean() / 2


def drawn_to(**targets: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Clients with one example each, at their targets."""
    return {name: (torch.zeros(1, 1), torch.tensor([[target]])) for name, target in targets.items()}


def steps(rate: float = 0.1, count: int = 1) -> Local:
    """So many steps w <- w - rate (w - target)."""
    return Local(steps=count, batch=1, loss=half_square, optimizer=partial(torch.optim.SGD, lr=rate))
