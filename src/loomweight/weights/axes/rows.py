"""A tensor seen as one row for each unit of a space."""

from torch import Tensor

from .table import Axes, Use


def unfolded(axes: Axes, tensor: Tensor, use: Use) -> Tensor:
    """The part of a tensor that a space runs over, (spaces it lies in, its units, everything else).

    What is a unit's in a tensor is a row of this: all its incoming weights, or all its outgoing ones.

    >>> import torch
    >>> from .find import axes as found
    >>> table = found(torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Linear(4, 1)), torch.zeros(1, 2))
    >>> [unfolded(table, torch.zeros(table.expected(use.tensor)), use).shape for use in table.uses("layer.0")]
    [torch.Size([4, 2]), torch.Size([4, 1]), torch.Size([4, 1])]
    """
    axis = axes.layouts[use.tensor].axes[use.axis]
    term = axis[use.term]
    begin = axes.length(axis[: use.term])
    sizes = axes.sizes(term)
    part = tensor.narrow(use.axis, begin, axes.length((term,))).unflatten(use.axis, sizes)
    lead = [term.index(parent) for parent in axes.spaces[str(term[use.factor])].within] + [use.factor]
    moved = part.movedim([use.axis + place for place in lead], list(range(len(lead))))
    return moved.reshape(*moved.shape[: len(lead)], -1)
