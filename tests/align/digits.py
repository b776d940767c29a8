"""Digits as images and as rows, and quick training."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


@cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images (n, 1, 8, 8), labels, test images, labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16  # type: ignore[attr-defined]
    labels = torch.tensor(bunch.target)  # type: ignore[attr-defined]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return images[:1200], labels[:1200], images[1200:], labels[1200:]


def trained(model: nn.Module, images: Tensor, labels: Tensor, *, epochs: int = 15, seed: int = 0, rate: float = 3e-3) -> nn.Module:
    """The model after Adam, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=generator).split(100):
            optimizer.zero_grad()
            cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval()


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((model.eval()(images).argmax(-1) == labels).double().mean())


def seeded(seed: int, model: "type[nn.Module]", *sizes: int) -> nn.Module:
    """A new model whose random weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return model(*sizes)


def batches(images: Tensor, size: int = 400) -> Sequence[Tensor]:
    return images.split(size)


class Mlp(nn.Module):
    def __init__(self, *widths: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for before, width in zip((64, *widths), widths, strict=False):
            layers += [nn.Linear(before, width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


class Cnn(nn.Module):
    """With batch normalization and a residual path."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, first, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(second)
        self.skip = nn.Conv2d(first, second, 1)
        self.head = nn.Linear(second * 16, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm1(self.conv1(images)).relu()
        x = (self.norm2(self.conv2(x)) + self.skip(x)).relu()
        return self.head(nn.functional.max_pool2d(x, 2).flatten(1))
