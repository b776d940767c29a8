"""The network that NAS-Bench-201 makes of a cell, as a plain module.

Paper: NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search (2020, https://arxiv.org/abs/2001.00326), section 2.1.
Original code: https://github.com/D-X-Y/AutoDL-Projects (xautodl/models/cell_infers/tiny_network.py). We differ: the network gives the
logits alone, and no ReLU works in place.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import BadParameter
from .cell import EDGES, NAMES, cell_values


def cell_network(arch: str | Mapping[str, str], channels: int = 16, cells: int = 5, classes: int = 10) -> nn.Module:
    """Stem, three stages of `cells` cells with a residual block of stride 2 between them, batch normalization, average, linear layer.

    Widths are `channels`, twice and four times that. Weights are drawn as torch's layers do.

    Part of: nasbench201.

    Args:
        arch: architecture string, or edge -> operator.
        channels: width of the first stage; 16 in the benchmark.
        cells: in each stage; 5 in the benchmark.
        classes: outputs.

    Raises:
        BadParameter, UnknownName: it is no architecture, or a number is below 1.

    >>> plain = cell_network("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|")
    >>> sum(parameter.numel() for parameter in plain.parameters())
    1531546
    """
    if min(channels, cells, classes) < 1:
        raise BadParameter(f"channels, cells and classes are at least 1, found {channels}, {cells} and {classes}.")
    operators = cell_values(arch)
    body: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
    for stage in range(3):
        width = channels * 2**stage
        body += [Reduction(width // 2, width)] if stage else []
        body += [Cell(operators, width) for _ in range(cells)]
    return nn.Sequential(*body, nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class Cell(nn.Module):
    """Every node is the sum of what its edges make of earlier nodes; the last node is the output."""

    def __init__(self, operators: Mapping[str, str], width: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict({name: _layer(operators[name], width) for name in NAMES})

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, height, width of the image) to the same."""
        nodes: list[Any] = [x, None, None, None]
        for name, (source, target) in zip(NAMES, EDGES, strict=True):
            made = self.edges[name](nodes[source])
            sofar = nodes[target]
            nodes[target] = made if sofar is None else sofar + made
        return nodes[-1]


class Reduction(nn.Module):
    """The residual block between stages: half the size, twice the width."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(width, wider, 3, stride=2), _convolution(wider, wider, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(width, wider, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, h, w) to (batch, wider, h / 2, w / 2)."""
        return self.shortcut(x) + self.second(self.first(x))


class Nothing(nn.Module):
    """The operator `none`: zeros, which later edges still work on, as in the benchmark."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return x * 0


def _layer(operator: str, width: int) -> nn.Module:
    match operator:
        case "none":
            return Nothing()
        case "skip_connect":
            return nn.Identity()
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return _convolution(width, width, 3 if operator == "nor_conv_3x3" else 1)


def _convolution(width: int, wider: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(width, wider, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(wider))
