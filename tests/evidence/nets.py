"""Small models and batches for the tests of evidence."""

from typing import Any

import torch
from torch import Tensor, nn


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(count: int, classes: int, seed: int = 1) -> Tensor:
    return torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(seed))


def data(count: int = 12, width: int = 4, classes: int = 3, batch: int = 5) -> list[tuple[Tensor, Tensor]]:
    return list(zip(numbers(count, width).split(batch), labels(count, classes).split(batch), strict=True))


def filled(model: nn.Module, seed: int = 2, scale: float = 0.7) -> Any:
    """The model with parameters (and statistics of batch norm) that depend on the seed alone, in training mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d) and module.running_mean is not None and module.running_var is not None:
                module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    return model.train()


def mlp() -> Any:
    """With batch norm and dropout, which must be as in evaluation."""
    return filled(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3)))


class TiedSpeaker(nn.Module):
    """A next-token model whose output matrix is its embedding."""

    def __init__(self, words: int = 7, width: int = 4, tied: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, words, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        seen = self.embed(input_ids)
        past = seen.cumsum(1) / torch.arange(1, seen.shape[1] + 1).unsqueeze(-1)
        return self.head(torch.tanh(self.mix(past)))


def speaker(tied: bool = True) -> Any:
    return filled(TiedSpeaker(tied=tied))


class Branching(nn.Module):
    """Looks at its data to choose a way, which no vectorized transformation can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x) if bool(x.sum() > 0) else self.down(x)
