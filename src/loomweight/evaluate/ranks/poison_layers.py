"""Operations that are of no use in a network, or do harm, as layers that keep the shape of an image.

Papers: Poisoning the Search Space in Neural Architecture Search (2021, https://arxiv.org/abs/2106.14406), sets P1 to P5.
Original code: https://github.com/rusbridger/enas_poisoning (README.md and the files of its sets).
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ...errors import unknown


class Noise(nn.Module):
    """Adds normal noise, from a generator of its own."""

    def __init__(self, scale: float, seed: int = 0) -> None:
        super().__init__()
        self.scale, self.generator = scale, torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return x + self.scale * torch.randn(x.shape, generator=self.generator).to(x)


def _identity(width: int) -> nn.Module:
    return nn.Identity()


def _noise(width: int, scale: float) -> nn.Module:
    return Noise(scale)


def _dropout(width: int, rate: float) -> nn.Module:
    return nn.Dropout(rate)


def _transposed(width: int, kernel: int) -> nn.Module:
    return nn.ConvTranspose2d(width, width, kernel, padding=kernel // 2)


def _stretched(width: int) -> nn.Module:
    return nn.Conv2d(width, width, 3, padding=50, dilation=50)


POISONS: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {
        "identity": _identity,
        "noise_2": partial(_noise, scale=2.0),
        "noise_10": partial(_noise, scale=10.0),
        "dropout_90": partial(_dropout, rate=0.9),
        "dropout_100": partial(_dropout, rate=1.0),
        "transposed_3x3": partial(_transposed, kernel=3),
        "transposed_5x5": partial(_transposed, kernel=5),
        "stretched_3x3": _stretched,
    }
)


def poison_layer(name: str, width: int) -> nn.Module:
    """A poison as a module: (batch, width, height, width of the image) to the same shape.

    Dropout of everything passes on its input in evaluation, as torch's does: a child that was trained with it has learnt nothing there.

    Part of: poisoning.

    Args:
        name: identity, noise_2, noise_10, dropout_90, dropout_100, transposed_3x3, transposed_5x5 or stretched_3x3.
        width: channels.

    Raises:
        UnknownName: there is no such poison.

    >>> poison_layer("dropout_100", 4)(torch.ones(1, 4, 2, 2)).abs().sum()
    tensor(0.)
    """
    if name not in POISONS:
        raise unknown("poison", name, POISONS)
    return POISONS[name](width)
