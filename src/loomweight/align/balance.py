"""A network with as many layers as another, under the other's names, before its units are aligned."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..edits.edit import Edit
from ..errors import BadParameter
from ..weights import Block, Spec, Weights
from ..weights.axes.table import Axes, Layout


@dataclass(frozen=True)
class Copy:
    """The tensor of that name."""

    name: str

    def read(self, weights: Weights, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """As it is."""
        return weights.open(self.name)(0, prod(shape)).reshape(shape)


@dataclass(frozen=True)
class Filled:
    """One number everywhere."""

    value: float

    def read(self, weights: Weights, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """That number."""
        return torch.full(shape, self.value, dtype=dtype)


@dataclass(frozen=True)
class Identity:
    """A matrix, or a kernel, that puts out what comes in (with stride 1 and padding that keeps the size)."""

    def read(self, weights: Weights, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """1 in the middle of the kernel from every unit to itself."""
        tensor = torch.zeros(shape, dtype=dtype)
        units = torch.arange(min(shape[:2]))
        tensor[(units, units, *(size // 2 for size in shape[2:]))] = 1
        return tensor


@dataclass(frozen=True, eq=False)
class Merged:
    """Consecutive linear layers as one: W = W_n D W_(n-1) ... D W_1, and the bias that comes of it.

    The ReLU between two of them is replaced by D: 1 for units whose values are positive in sum over the data, else 0.

    Args:
        layers: (weight, bias or "", active units or None for the last), from the input on.
        consumed: the axis of the weights that meets the input.
        bias: read the bias, not the weight.
    """

    layers: tuple[tuple[str, str, Tensor | None], ...]
    consumed: int
    bias: bool

    def read(self, weights: Weights, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The product, or its bias, in float64 on the way."""
        total = torch.zeros(1, dtype=torch.float64)
        for number, (weight, bias, active) in enumerate(self.layers):
            matrix = weights[weight].double()
            matrix = matrix if self.consumed == 1 else matrix.T
            total = matrix @ total if number else torch.zeros(len(matrix), dtype=torch.float64) if self.bias else matrix
            total = total + weights[bias].double() if self.bias and bias else total
            if active is not None:
                total = total * (active if self.bias else active[:, None])
        return (total if self.bias or self.consumed == 1 else total.T).to(dtype)


Source = Copy | Filled | Identity | Merged


@dataclass(frozen=True, eq=False)
class Balance(Edit):
    """Another depth: every tensor of the new set from tensors of the old one.

    Args:
        axes: the table of the new set.
        sources: (name, source) for every tensor of the new set.
        ties: alias -> owner in the new set.
    """

    axes: Axes
    sources: tuple[tuple[str, Source], ...]
    ties: tuple[tuple[str, str], ...] = ()

    def __call__(self, weights: Weights) -> Weights:
        """The balanced set, lazily."""
        spec = {name: Spec(self.axes.expected(name), self._dtype(weights, name, source)) for name, source in self.sources}
        sources = dict(self.sources)

        def open_(name: str) -> Block:
            flat = sources[name].read(weights, spec[name].shape, spec[name].work).reshape(-1)
            return lambda lo, hi: flat[lo:hi]

        return Weights(spec, open_, ties=dict(self.ties), origin=("balance", weights, self), label=weights.label, sources=weights.sources)

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Names change, so only a call can say what becomes of a set."""
        raise BadParameter("a network of another depth has other tensors; call the edit itself: edit(weights).")

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """One tensor alone says nothing."""
        raise BadParameter("a network of another depth has other tensors; call the edit itself: edit(weights).")

    def _dtype(self, weights: Weights, name: str, source: Source) -> torch.dtype:
        like = source.name if isinstance(source, Copy) else source.layers[-1][0] if isinstance(source, Merged) else ""
        if like:
            return weights.spec[like].dtype
        if name.endswith("num_batches_tracked"):
            return torch.int64
        return next(spec.dtype for spec in weights.spec.values() if spec.averages)


def identity_sources(axes: Axes, names: list[str]) -> dict[str, Source]:
    """What makes a layer of a chain an identity behind a ReLU.

    Raises:
        BadParameter: the layer has a tensor for which there is no such value.
    """
    found: dict[str, Source] = {}
    for name in names:
        layout, word = axes.layouts[name], name.rpartition(".")[2]
        if layout.consumed is not None:
            found[name] = _square(name, layout)
        elif len(layout.axes) > 1:
            raise _no_identity(name)
        elif word in ("bias", "running_mean", "num_batches_tracked"):
            found[name] = Filled(0)
        elif word == "running_var":
            found[name] = Filled(1)
        elif f"{name.rpartition('.')[0]}.running_var" in axes.layouts:
            found[name] = Filled((1 + 1e-5) ** 0.5)  # torch's default eps, so that the norm divides by just this
        else:
            raise _no_identity(name)
    return found


def _square(name: str, layout: Layout) -> Identity:
    """A product of units with units, whose other axes are odd kernels."""
    units = [len(axis) == 1 and len(axis[0]) == 1 and isinstance(axis[0][0], str) for axis in layout.axes[:2]]
    kernel = [axis[0][0] if len(axis) == 1 and len(axis[0]) == 1 else 0 for axis in layout.axes[2:]]
    if len(units) < 2 or not all(units) or not all(isinstance(size, int) and size % 2 for size in kernel):
        raise _no_identity(name)
    return Identity()


def _no_identity(name: str) -> BadParameter:
    return BadParameter(
        f"the deeper network's layer with tensor {name!r} stands for none of the shallower one, and cannot be added there as an identity;"
        " only linear layers, convolutions with odd kernels, batch norms and residual blocks can. Give the stages by hand, or costs that match it."
    )
