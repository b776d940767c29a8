"""Units in the order of their importance, so that a prefix of them is the best choice of so many.

Paper: Once-for-All: Train One Network and Specialize it for Efficient Deployment (2019, https://arxiv.org/abs/1908.09791), section 3.3:
channels are sorted by the L1 norm of their weights before a width becomes elastic. We add up incoming and outgoing weights.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..errors import BadParameter
from ..weights.axes import Axes, unfolded
from ..weights.axes.orders import positions, then
from .export import distance

#: table, tensors of the model by name, space -> a number for each unit, (sizes of the spaces it lies in, its size); large ones come first
Importance = Callable[[Axes, dict[str, Tensor], str], Tensor]


def magnitude(axes: Axes, tensors: dict[str, Tensor], space: str) -> Tensor:
    """The sum of absolute weights from and to each unit.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
    >>> _ = [nn.init.constant_(layer.weight, 1.0) for layer in model], model[0].weight.data[1].fill_(-3)
    >>> from ..weights.axes import axes
    >>> magnitude(axes(model, torch.ones(1, 1)), model.state_dict(), "layer.0")
    tensor([2., 4.])
    """
    uses = [use for use in axes.uses(space) if tensors[use.tensor].ndim > 1]
    return torch.stack([unfolded(axes, tensors[use.tensor], use).abs().sum(-1) for use in uses]).sum(0)


def ordered(state: dict[str, Tensor], axes: Axes, spaces: Iterable[str], importance: Importance, run: Callable[[], Any]) -> None:
    """Put the units of some spaces into the order of importance, in the model's own tensors; its function stays as it is.

    Args:
        state: tensors of the model by name, changed in place.
        axes: its table.
        spaces: of units that are put in order; those inside others are put in order inside each.
        importance: of units.
        run: the model's outputs on an example, those that count.

    Raises:
        BadParameter: scores have a wrong shape, or the outputs change.
    """
    tensors = {name: tensor for name, tensor in state.items() if name in axes.layouts}
    orders: dict[str, Tensor] = {}
    for space in sorted(spaces, key=lambda name: -len(axes.shape(name))):
        orders = then(axes, orders, {space: _order(axes, tensors, space, importance)})
    before, wanted = {name: tensor.clone() for name, tensor in tensors.items()}, run()
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(_permuted(axes, name, before[name], orders))
        if not (apart := distance(wanted, run())) <= 1e-4:
            for name, tensor in tensors.items():
                tensor.copy_(before[name])
            raise BadParameter(f"putting units into the order of importance changes the outputs by {apart:.2g} of the largest: the axes table is wrong.")


def _order(axes: Axes, tensors: dict[str, Tensor], space: str, importance: Importance) -> Tensor:
    scores = importance(axes, tensors, space)
    if tuple(scores.shape) != axes.shape(space):
        raise BadParameter(f"importance of the units of {space!r} must have shape {axes.shape(space)}, found {tuple(scores.shape)}.")
    return scores.argsort(dim=-1, descending=True, stable=True).cpu()


def _permuted(axes: Axes, name: str, tensor: Tensor, orders: dict[str, Tensor]) -> Tensor:
    for axis, terms in enumerate(axes.layouts[name].axes):
        if any(factor in orders for term in terms for factor in term):
            tensor = tensor.index_select(axis, torch.from_numpy(positions(axes, terms, orders)).to(tensor.device))
    return tensor
