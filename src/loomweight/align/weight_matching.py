"""Weight matching: the permutation under which two networks' weights have the largest inner product.

Papers: Git Re-Basin: Merging Models modulo Permutation Symmetries (2022, https://arxiv.org/abs/2209.04836);
Analysis of Linear Mode Connectivity via Permutation-Based Weight Matching (2024, https://arxiv.org/abs/2402.04051).
Algorithm 1 of the first. Original code: https://github.com/samuela/git-re-basin, src/weight_matching.py.
"""

from collections.abc import Collection

from ..edits.permute import Permute
from ..errors import NamesDiffer, unknown
from ..weights import Weights
from ..weights.axes.table import Axes
from ..weights.names import difference
from .descent import started
from .families import Family, families
from .pairs import Pair


def weight_matching(
    axes: Axes, moving: Weights, reference: Weights, *, spaces: Collection[str] | None = None, sweeps: int = 100, seed: int = 0, progress: bool = False
) -> Permute:
    """argmax over orders P of sum over tensors <reference, P(moving)>, by coordinate descent over spaces.

    For one space, all others in their orders, the sum is linear in its order and is solved by assignment: the gain of unit j at
    place i is the inner product of its weights, incoming and outgoing, with those of the reference's unit i. Spaces are visited in
    random order until none gains; heads and their dims are ordered together. A space that meets itself (recurrent weights, square
    matrices on a residual stream) is linearised, and a step that does not raise the sum is not taken: the sum never falls.

    We differ from the paper in the start: it begins at the identity. So do we, unless a first pass that orders the spaces one
    after another, each by what it shares with those already ordered (inputs and outputs stay), reaches a larger sum. That pass does
    not depend on how the units happen to be stored; from the identity alone the end depends on it, and is lower on average. Running
    means and variances do not count.

    Args:
        axes: which axes carry which units, for both sets.
        moving: is brought into the coordinates of `reference`.
        reference: stays.
        spaces: order only these; by default all.
        sweeps: visit every space at most as often.
        seed: of the order of visits.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        The edit; `edit(moving)` is comparable with `reference`. Ties leave units where they are.

    Raises:
        NamesDiffer: the table, or one set, lacks a tensor of the other.
        ShapesDiffer: a tensor has another shape than the table says.
        NonFinite: a weight is NaN or Inf.
        UnknownName: `spaces` names one that the table does not have.

    >>> from loomweight.weights.axes import axes, random_orders
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    >>> table, weights = axes(model, torch.zeros(1, 3)), lw.load(model)
    >>> shuffled = Permute.by(table, {"layer.0": torch.tensor([4, 2, 0, 1, 3])})(weights)
    >>> back = weight_matching(table, shuffled, weights)(shuffled)
    >>> all(torch.equal(back[name], weights[name]) for name in weights)
    True
    """
    climb = started(*matched(axes, moving, reference, spaces))
    climb.ascend(sweeps, seed, show=progress)
    return Permute.by(axes, climb.orders)


def matched(axes: Axes, moving: Weights, reference: Weights, spaces: Collection[str] | None = None) -> tuple[Pair, list[Family]]:
    """Both sets, after a look at their names and shapes, and what is to be ordered."""
    for weights in (moving, reference):
        axes.fits(weights)
    if lacking := difference(moving.names, reference.names):
        raise NamesDiffer(f"the moving and the reference set hold different tensors: {lacking}; only sets of one architecture are matched.")
    for name in spaces or ():
        if name not in axes.spaces:
            raise unknown("space", name, axes.spaces)
    pair = Pair(axes, moving, reference)
    return pair, families(axes, pair.tensors, spaces)
