"""Spaces of small networks whose every member bench/ground_truth.py trains alone.

`TRUTHS["blocks"]` varies what a supernet shares by slicing: hidden widths, kernel sizes and depths of residual blocks on Fashion-MNIST. The largest network
holds the others: the first channels, the middle of a kernel, the first blocks of a stage. `TRUTHS["pooling"]` varies where a ResNet20 halves its resolution on
CIFAR-10, the space of Balanced Mixture of SuperNets for Learning the CNN Pooling Architecture (2023, https://arxiv.org/abs/2306.11982): two poolings before two
of its nine blocks. All its networks have the same parameters, of the same names and shapes. Ours has half the channels, 16 x 16 pixels and short training.

A configuration is a plain dict; `TRUTHS[name].network(configuration)` makes the network, an ordinary module.
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from apart_models import Block, Split
from torch import Tensor, nn

from loomweight.search import Choice, Ordered, Space
from loomweight.search.space import Values

#: residual channels of both stages of "blocks"
CHANNELS = (8, 32)
#: hidden channels of its first stage
HIDDEN = 8
#: channels of the first convolution and the nine blocks of "pooling": half of a ResNet20's
WIDTHS = (8, 8, 8, 8, 16, 16, 16, 32, 32, 32)

BLOCKS = Space(
    {
        "stem_width": Ordered((1, 8)),
        "kernel1": Ordered((1, 3, 5)),
        "depth1": Ordered((1, 2)),
        "width2": Ordered((8, 32)),
        "kernel2": Ordered((3, 5)),
    }
)
POOLING = Space({"pools": Choice(tuple(f"{first}-{second}" for first, second in combinations(range(1, len(WIDTHS)), 2)))})


#: both spaces as lines for `supernet.elastic`, whose fields are named after modules; `Truth.chosen` translates
BLOCKS_TABLE = """
width stem.0 : 1 8
kernel stage1.* : 1 3 5 tied
depth stage1 : 1 2
width stage2.conv1 : 8 32
kernel stage2.* : 3 5 tied
"""
POOLING_TABLE = "stride pool[1-9] : 1 2"


class Pool(nn.Module):
    """The largest of `stride` x `stride` pixels, a single pixel as it is; with a stride of 1, what comes in."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, pixels, pixels) -> (n, channels, pixels / stride, pixels / stride)."""
        return x if self.stride == 1 else nn.functional.max_pool2d(x, self.stride, ceil_mode=True)


class Hidden(nn.Module):
    """A residual block whose hidden width and kernel size are free: relu(x + conv(relu(conv(x))))."""

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, channels, kernel, padding=kernel // 2, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


def convolution(before: int, after: int, kernel: int) -> nn.Sequential:
    """With BatchNorm, same resolution."""
    return nn.Sequential(nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU())


def blocks(arch: Values) -> nn.Sequential:
    """A network of BLOCKS: stem, a stage of residual blocks, half the resolution, a wider residual block, scores."""
    first, second = CHANNELS
    layers = {
        "stem": convolution(1, arch["stem_width"], 3),
        "enter": convolution(arch["stem_width"], first, 1),
        "stage1": nn.Sequential(*(Hidden(first, HIDDEN, arch["kernel1"]) for _ in range(arch["depth1"]))),
        "down": nn.MaxPool2d(2),
        "widen": convolution(first, second, 1),
        "stage2": Hidden(second, arch["width2"], arch["kernel2"]),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "head": nn.Linear(second, 10),
    }
    return nn.Sequential(OrderedDict(layers))


def positions(arch: Values) -> tuple[int, int]:
    """The two layers of a configuration of POOLING, 1 to 9, before which the resolution is halved."""
    first, second = map(int, arch["pools"].split("-"))
    return first, second


def pooling(arch: Values) -> nn.Sequential:
    """A network of POOLING: a convolution and nine residual blocks; `pool3` stands before `block3`."""
    layers: dict[str, nn.Module] = {"stem": convolution(3, WIDTHS[0], 3)}
    for place in range(1, len(WIDTHS)):
        layers[f"pool{place}"] = Pool(2 if place in positions(arch) else 1)
        layers[f"block{place}"] = Block(WIDTHS[place - 1], WIDTHS[place], 1)
    return nn.Sequential(OrderedDict({**layers, "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "head": nn.Linear(WIDTHS[-1], 10)}))


def blocks_chosen(arch: Values) -> Values:
    """A configuration of BLOCKS by the fields of BLOCKS_TABLE."""
    fields = [line.partition(" :")[0] for line in BLOCKS_TABLE.strip().splitlines()]
    return dict(zip(fields, (arch[name] for name in ("stem_width", "kernel1", "depth1", "width2", "kernel2")), strict=True))


def pooling_chosen(arch: Values) -> Values:
    """A configuration of POOLING by the fields of POOLING_TABLE."""
    return {f"stride pool{place}": 2 if place in positions(arch) else 1 for place in range(1, len(WIDTHS))}


def read(path: str, mean: tuple[float, ...], std: tuple[float, ...]) -> Split:
    """Images of the shared data, averaged over 2 x 2 pixels, as (n, channels, pixels, pixels), and labels."""
    held = np.load(Path(os.environ.get("LOOMWEIGHT_DATA", "../shared/data")) / path)
    images = torch.tensor(held["x"]).reshape(*held["x"].shape[:3], len(mean)).permute(0, 3, 1, 2).float() / 255
    centre, scale = (torch.tensor(value)[:, None, None] for value in (mean, std))
    return ((nn.functional.avg_pool2d(images, 2) - centre) / scale).contiguous(), torch.tensor(held["y"], dtype=torch.int64)


def fashion() -> tuple[Split, Split]:
    """Fashion-MNIST, 14 x 14: 10,000 images to train on, all 10,000 of the test set."""
    train, test = (read(f"fashion-mnist/{name}.npz", (0.286,), (0.3,)) for name in ("train_small", "test"))
    return train, test


def cifar() -> tuple[Split, Split]:
    """CIFAR-10, 16 x 16: 10,000 images to train on, 2,000 of the test set."""
    train, test = (read(f"cifar10/{name}.npz", (0.491, 0.482, 0.447), (0.247, 0.244, 0.262)) for name in ("train_small", "test_small"))
    return train, test


class Truth(NamedTuple):
    """A space, its networks, and how each is trained alone."""

    space: Space
    network: Callable[[Values], nn.Module]
    data: Callable[[], tuple[Split, Split]]
    shape: tuple[int, int, int]
    epochs: int
    rate: float
    table: str
    chosen: Callable[[Values], Values]

    def architectures(self) -> list[Values]:
        """Every configuration, in the order of the table."""
        return list(self.space.enumerate())

    def largest(self) -> nn.Module:
        """The network of the last option everywhere, which holds the others."""
        return self.network(self.architectures()[-1])

    def example(self) -> Tensor:
        """Two inputs of zeros."""
        return torch.zeros(2, *self.shape)


TRUTHS = {
    "blocks": Truth(BLOCKS, blocks, fashion, (1, 14, 14), 4, 0.1, BLOCKS_TABLE, blocks_chosen),
    "pooling": Truth(POOLING, pooling, cifar, (3, 16, 16), 8, 0.1, POOLING_TABLE, pooling_chosen),
}
