"""Put the units of a network into another order.

Paper: The Role of Permutation Invariance in Linear Mode Connectivity of Neural Networks (2021, https://arxiv.org/abs/2110.06296).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..weights import Block, Spec, Weights
from ..weights.axes.orders import checked, positions
from ..weights.axes.table import Axes
from .edit import Edit


@dataclass(frozen=True)
class Permute(Edit):
    """w -> w with every axis in a new order, new[i] = old[order[i]], the same order wherever the same units are.

    The function of the network stays what it was. Integer tensors are permuted too.

    Args:
        axes: which axes carry which units; it speaks of every tensor of the set.
        orders: (space, order) pairs; `Permute.by` takes a mapping. The other spaces stay.

    Raises:
        UnknownName: no such space, or a tensor of which the table says nothing.
        BadParameter: an order is no permutation of its space.

    >>> from loomweight.weights.axes import axes
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    >>> weights, table = Weights.of(model.state_dict()), axes(model, torch.zeros(1, 1))
    >>> turned = Permute.by(table, {"layer.0": torch.tensor([2, 0, 1])})(weights)
    >>> assert torch.equal(turned["0.bias"], weights["0.bias"][[2, 0, 1]])
    >>> assert torch.equal(turned["2.weight"], weights["2.weight"][:, [2, 0, 1]])
    """

    axes: Axes
    orders: tuple[tuple[str, Tensor], ...]

    def __post_init__(self) -> None:
        checked(self.axes, dict(self.orders))

    @staticmethod
    def by(axes: Axes, orders: Mapping[str, Tensor]) -> "Permute":
        """From a mapping of spaces to orders."""
        return Permute(axes, tuple(sorted(checked(axes, orders).items())))

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Every tensor by the table; a tensor is read when it is opened."""
        self.axes.fits(weights)
        return lambda name: self.bind(name, weights.spec[name], weights.open(name))

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Read whole, then gather along every axis that moves."""
        orders = dict(self.orders)
        moves = [positions(self.axes, axis, orders) for axis in self.axes.layouts[name].axes]
        moving = [(axis, torch.from_numpy(old)) for axis, old in enumerate(moves) if (old[1:] < old[:-1]).any()]
        if not moving:
            return read
        tensor = read(0, prod(spec.shape)).reshape(spec.shape)
        for axis, old in moving:
            tensor = tensor.index_select(axis, old.to(tensor.device))
        flat = tensor.reshape(-1)
        return lambda lo, hi: flat[lo:hi]
