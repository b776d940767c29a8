"""Networks and data for bench/apart.py: small, trained in seconds to a minute each."""

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

Split = tuple[Tensor, Tensor]


def digits() -> tuple[Split, Split]:
    """scikit-learn's digits, 8 x 8 pixels: 1397 to train on, 400 to test on."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(found.images, dtype=torch.float32)[order, None] / 8 - 1
    labels = torch.tensor(found.target)[order]
    return (images[400:], labels[400:]), (images[:400], labels[:400])


def fashion() -> tuple[Split, Split]:
    """Fashion-MNIST (small), 28 x 28 pixels averaged to 14 x 14: 10,000 to train on, 2,000 to test on."""
    folder = Path(os.environ.get("LOOMWEIGHT_DATA", "../shared/data")) / "fashion-mnist"

    def read(name: str) -> Split:
        held = np.load(folder / name)
        images = torch.tensor(held["x"], dtype=torch.float32)[:, None] / 255
        return (nn.functional.avg_pool2d(images, 2) - 0.286) / 0.3, torch.tensor(held["y"], dtype=torch.int64)

    return read("train_small.npz"), read("test_small.npz")


def shakespeare() -> tuple[Split, Split]:
    """Tiny Shakespeare as windows of 64 characters and the ones that follow: 12,730 to train on, 1,350 to test on."""
    text = (Path(os.environ.get("LOOMWEIGHT_DATA", "../shared/data")) / "tinyshakespeare" / "input.txt").read_text()
    place = {char: code for code, char in enumerate(sorted(set(text)))}
    codes = torch.tensor([place[char] for char in text[:1_000_000]])
    starts = torch.randint(0, len(codes) - 65, (14_080,), generator=torch.Generator().manual_seed(0))
    windows = torch.stack([codes[start : start + 65] for start in starts.tolist()])
    test = starts >= int(0.9 * len(codes))
    inputs, labels = windows[:, :-1], windows[:, 1:]
    return (inputs[~test], labels[~test]), (inputs[test], labels[test])


class Characters(nn.Module):
    """A small causal transformer that scores the next character."""

    def __init__(self, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(65, width), nn.Embedding(64, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 65)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, places) -> (batch, classes, places), as cross entropy wants it."""
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        hidden = self.token(x) + self.place(torch.arange(x.shape[1]))
        return self.head(self.blocks(hidden, mask, is_causal=True)).transpose(1, 2)


def mlp(pixels: int, width: int = 128, depth: int = 3) -> nn.Module:
    """Hidden layers of one width."""
    sizes = [pixels * pixels, *[width] * depth]
    layers = [module for a, b in pairwise(sizes) for module in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(width, 10))


def convolutions(before: int, after: int, count: int) -> list[nn.Module]:
    """3 x 3 convolutions with BatchNorm, then half the resolution."""
    widths = [before, *[after] * count]
    layers = [module for a, b in pairwise(widths) for module in (nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())]
    return [*layers, nn.MaxPool2d(2)]


def vgg(pixels: int, width: int = 16) -> nn.Module:
    """Six convolutions, three resolutions."""
    layers = [*convolutions(1, width, 2), *convolutions(width, 2 * width, 2), *convolutions(2 * width, 4 * width, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))


def staged(counts: tuple[int, int, int], width: int = 16) -> nn.Module:
    """The same with as many convolutions at each resolution as is said; each resolution is a module."""
    widths = [1, width, 2 * width, 4 * width]
    stages = [nn.Sequential(*convolutions(a, b, count)) for (a, b), count in zip(pairwise(widths), counts, strict=True)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        around = before != after or stride > 1
        self.around = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)) if around else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x -> relu(f(x) + x)."""
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + self.around(x))


def resnet20(pixels: int, width: int = 16) -> nn.Module:
    """Three stages of three blocks."""
    layers: list[nn.Module] = [nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    before = width
    for stage in range(3):
        for block in range(3):
            after = width * 2**stage
            layers.append(Block(before, after, 2 if stage and not block else 1))
            before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def batches(split: Split, size: int, seed: int | None = None) -> Iterator[Split]:
    """Pairs (inputs, labels), in a random order where a seed is given."""
    images, labels = split
    order = torch.arange(len(labels)) if seed is None else torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return ((images[part], labels[part]) for part in order.split(size))


def trained(make: Callable[[], nn.Module], data: Split, seed: int, epochs: int, rate: float = 0.05) -> nn.Module:
    """SGD with momentum, weight decay and a cosine; start and order of the data by the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make().train()
    optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    if data[0].dtype == torch.int64:
        rate, optimizer = 3e-3, torch.optim.AdamW(model.parameters(), 3e-3)
    steps = epochs * -(-len(data[1]) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.2)
    for epoch in range(epochs):
        for images, labels in batches(data, 128, seed * 1000 + epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


class Scores(NamedTuple):
    """What a network is worth on a split: the share of right answers, and the mean cross entropy."""

    accuracy: float
    loss: float


def scores(model: nn.Module, split: Split) -> Scores:
    """Both in one pass."""
    right, total = 0, 0.0
    with torch.no_grad():
        for images, labels in batches(split, 500):
            found = model(images)
            right += int((found.argmax(1) == labels).sum())
            total += float(nn.functional.cross_entropy(found, labels)) * len(labels)
    return Scores(right / split[1].numel(), total / len(split[1]))
