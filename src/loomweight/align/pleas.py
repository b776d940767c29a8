"""PLeaS: merge the pairs of units that fit best, keep the others, then fit every layer to what both networks' layers do.

Paper: PLeaS -- Merging Models with Permutations and Least Squares (2024, https://arxiv.org/abs/2407.02447), sections 3 and 4.
Original code: https://github.com/SewoongLab/PLeaS-Merging (pleas/methods). We differ: least squares are solved, where the code takes steps
of Adam; of a matching the pairs with the smallest squared distance are merged, where the code ranks by distance or inner product;
a budget gives one share for all spaces, where the code solves a quadratic program (a mapping gives any other); the output layer is an average
like all others, where the code keeps it apart for each network. That rows of one network's own units do not read the other's own units
is the code's, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..edits.permute import Permute
from ..weights import Block, Weights
from ..weights.axes import Axes, unfolded
from ..weights.axes.orders import identity
from .features import Fit, distances, fitted
from .partial import side_by_side
from .weight_matching import weight_matching
from .widths import Fraction, Widths, counts


@dataclass(frozen=True)
class Merged:
    """Two networks as one.

    Args:
        weights: of the wider network; they load into the same architecture built with the new widths.
        axes: its table: `axes.spaces[name].size` are the new widths.
        match: what brought the moving network into the reference's order.
        merged: space -> the units of the reference that are merged; the result has these first, then the reference's own, then the other's own.
    """

    weights: Weights
    axes: Axes
    match: Permute
    merged: Mapping[str, Tensor]


def pleas(axes: Axes, moving: Weights, reference: Weights, fraction: Fraction = 1.0, *, match: Permute | None = None, fit: Fit | None = None) -> Merged:
    """One network out of two of the same architecture, of a width between theirs and both together.

    1. Units are matched (`match`, by default `weight_matching`), and in each space the share `fraction` of the pairs with the smallest
       squared distance, of weights or with `fit` of activations, is merged.
    2. Both networks are joined: W = O_a W_a I_a^T + O_b W_b I_b^T, where O halves merged units and outputs, and I reads them once. With
       fraction 0 it is the average of both networks' outputs, exactly.
    3. With `fit` each layer is solved anew: W = argmin ||X W - Y||^2 (+ ridge), where X are the inputs of the layer in both networks,
       averaged for merged units, and Y its outputs, likewise. Without data of the parents' own, any other data will do (PLeaS-free); without
       any, step 2 is what white inputs on which merged units agree would give.

    Batch normalization averages its numbers for merged units: renew them on the wider model (`renew_batch_norm`). Layer normalization
    over a space that is split sees the units of both networks at once, which is not the average: give such spaces (residual streams of
    transformers) the share 1. Layers with groups, recurrent ones and those whose weight is shared are joined, not fitted.

    Args:
        axes: of both.
        moving: is matched to the reference.
        reference: stays in its order.
        fraction: share of the pairs that are merged: one for all spaces (those inside others are merged whole), a mapping from spaces (the rest is
            merged whole), or `Size(times)`, a budget of parameters.
        match: an alignment of your own, from activations for example.
        fit: model, data and ridge of step 3.

    Raises:
        NamesDiffer, ShapesDiffer: the sets or the table are of different networks.
        BadParameter: a share outside of [0, 1] or for a space inside others; a split space of a tensor that several names share; no batch.
        UnknownName: a mapping names no space.
        IntegersDiffer: an integer tensor differs.
        NonFinite: weights or features hold NaN or Inf.

    >>> from loomweight.weights.axes import axes
    >>> build = lambda width: torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))
    >>> one, two = build(4), build(4)
    >>> both = pleas(axes(one, torch.zeros(1, 2)), lw.load(two), lw.load(one), fraction=0)
    >>> wide = build(*both.axes.expected("0.bias"))
    >>> wide.load_state_dict(dict(both.weights))
    <All keys matched successfully>
    >>> x = torch.ones(1, 2)
    >>> torch.allclose(wide(x), (one(x) + two(x)) / 2)
    True
    """
    found = match or weight_matching(axes, moving, reference)
    moved = found(moving)
    number = counts(axes, fraction, reference)
    apart = (distances(axes, fit, reference, moved) if fit else {}) if number else {}
    merged = {name: _nearest(apart.get(name, _apart(axes, name, reference, moved)), count) for name, count in number.items()}
    widths = Widths(axes, merged)
    joined = side_by_side(widths, reference, moved)
    if fit:
        joined = _replaced(joined, fitted(widths, fit, reference, moved, joined))
    every = {name: merged.get(name, identity(axes, name)) for name in axes.spaces}
    return Merged(joined, widths.wide, found, every)


def _nearest(apart: Tensor, count: int) -> Tensor:
    """The pairs with the smallest distance, in ascending order; of equal ones the first."""
    return apart.argsort(stable=True)[:count].sort().values.cpu()


def _apart(axes: Axes, space: str, first: Weights, second: Weights) -> Tensor:
    """The squared distance of the weights of each pair of units, incoming and outgoing."""
    total = torch.zeros(axes.spaces[space].size, dtype=torch.float64)
    for use in axes.uses(space):
        spec = first.spec[use.tensor]
        if spec.averages and use.tensor in first.physical and "running_" not in use.tensor:
            gap = (first[use.tensor].double() - second[use.tensor].double()).cpu()
            total += unfolded(axes, gap, use).square().sum(-1)
    return total


def _replaced(weights: Weights, new: Mapping[str, Tensor]) -> Weights:
    """The same set with other numbers for some of its tensors."""

    def open_(name: str) -> Block:
        if name not in new:
            return weights.open(name)
        flat = new[name].reshape(-1)
        return lambda lo, hi: flat[lo:hi]

    return Weights(weights.spec, open_, ties=weights.ties, label=weights.label)
