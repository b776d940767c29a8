"""Mean and spread of every channel over all data, summed in float64 without cancellation."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NonFinite
from ..evidence.linear import input_axis
from ..shapes import Float64

#: a spread below this share of the mean is rounding: the channel is constant
ROUNDING = 1e-5


@dataclass(frozen=True)
class Moments:
    """How many values, their mean, the sum of their squared distances from it; a channel each.

    >>> seen = Moments.of(torch.tensor([[1.0], [3.0]]), -1).plus(Moments.of(torch.tensor([[8.0]]), -1))
    >>> seen.count, seen.mean.item(), round(seen.std.item() ** 2, 3)
    (3, 4.0, 8.667)
    """

    count: int
    mean: Float64[Tensor, " channels"]
    squares: Float64[Tensor, " channels"]

    @staticmethod
    def of(values: Tensor, axis: int) -> "Moments":
        """Of one batch, whose channels lie along `axis`."""
        others = [d for d in range(values.ndim) if d != axis % values.ndim]
        wide = values.detach().double()
        if not others:
            return Moments(1, wide, torch.zeros_like(wide))
        variance, mean = torch.var_mean(wide, others, correction=0)
        count = values.numel() // values.shape[axis]
        return Moments(count, mean, variance * count)

    def plus(self, other: "Moments") -> "Moments":
        """Of both together."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        return Moments(count, mean, self.squares + other.squares + apart.square() * (self.count * other.count / count))

    @property
    def std(self) -> Float64[Tensor, " channels"]:
        """The spread over these very values (divided by their count)."""
        return (self.squares / self.count).sqrt()

    @property
    def unbiased(self) -> Float64[Tensor, " channels"]:
        """The variance as batch normalization keeps it (divided by their count less one)."""
        if self.count < 2:
            raise BadParameter("a variance needs at least 2 values per channel; give more data.")
        return self.squares / (self.count - 1)

    @property
    def constant(self) -> Tensor:
        """Which channels do not move, but for rounding."""
        return self.std <= ROUNDING * self.mean.abs()

    def checked(self, name: str) -> "Moments":
        """The same; raise where a module put out NaN or Inf."""
        if not (self.mean.isfinite().all() and self.squares.isfinite().all()):
            raise NonFinite(f"what runs through {name!r} holds NaN or Inf; look at the data, at the weights and at the model's dtype.")
        return self


def is_norm(module: nn.Module) -> bool:
    """True for batch normalization of any dimension."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def channel_axis(module: nn.Module) -> int:
    """Where a module's output has its channels, counted from the end for layers, 1 for batch normalization."""
    if is_norm(module):
        return 1
    return -1 - len(getattr(module, "kernel_size", ()))


def made_axis(module: nn.Module) -> int | None:
    """The axis of the weight of a linear or convolutional layer that makes its output channels; None for all other modules."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return 1 if module.transposed else 0
    consumed = input_axis(module)
    return None if consumed is None else 1 - consumed
