"""Optimal transport between the units of two networks, layer by layer, for different widths too.

Paper: Model Fusion via Optimal Transport (2019, https://arxiv.org/abs/1910.05653), algorithm 1.
Original code: https://github.com/sidak/otfusion, wasserstein_ensemble.py.
"""

from collections.abc import Sequence

import torch

from ..edits.carry import Carry, UnitMap
from ..errors import BadParameter, TooFewSets
from ..weights import Block, Weights
from ..weights.axes.table import Axes
from .making_rows import MakingRows, Side
from .transport import EXACT, Transport
from .transport_walk import Costs, Walk


def ot_fusion(
    axes_moving: Axes, moving: Weights, axes_reference: Axes, reference: Weights, *, transport: Transport = EXACT, costs: Costs | None = None
) -> Carry:
    """Map a network into the coordinates of another by optimal transport between their units, space by space.

    T = argmin over plans of sum_ij T_ij d(i, j), with the masses a = T 1 and b = T^T 1; M = diag(1/b) T^T, N = diag(1/a) T

    d is the distance of all that makes two units: their incoming weights, after the maps of the units below have carried them, and
    their biases and norms; or of their activations, by `costs`. Spaces are visited from the input on. Heads are transported by the
    values of the transports of their dims.

    We differ from the paper where the widths do. It multiplies incoming weights by T diag(1/b) as well, so that a network carried
    to half of its width has half of its activations in every layer (the authors' networks have no biases, where this scales
    the logits alone). N = diag(1/a) T keeps the function of a network whose units are doubled; for one width and uniform masses
    it is the same matrix. `Transport(shrink=True)` does as the paper: the wider network then counts for less in an average, which
    can make the average better. Outputs stay where they are; the authors' code transports them too.

    Args:
        axes_moving: the table of the moving network.
        moving: is carried.
        axes_reference: the table of the reference: the same spaces, perhaps of other sizes.
        reference: stays.
        transport: exact or entropic, masses, rounds.
        costs: space -> squared distances of units, as `activation_costs` gives; for the other spaces weights count.

    Returns:
        The edit: `edit(moving)` has the shapes of the reference and can be combined with it. With one width, exact and uniform, it
        permutes.

    Raises:
        NamesDiffer, ShapesDiffer: the tables are not of one family, or do not fit the sets.
        BadParameter: costs of a wrong shape.
        NonFinite: a weight or a cost is NaN or Inf.
        MissingExtra: POT is needed (other widths, soft plans) and not installed.

    >>> from loomweight.weights.axes import axes
    >>> def mlp(width): return torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, 2))
    >>> wide, narrow = mlp(8), mlp(5)
    >>> tables = [axes(model, torch.zeros(1, 4)) for model in (wide, narrow)]
    >>> sets = [Weights.of(model.state_dict()) for model in (wide, narrow)]
    >>> ot_fusion(tables[0], sets[0], tables[1], sets[1])(sets[0])["0.weight"].shape
    torch.Size([5, 4])
    """
    axes_moving.fits(moving)
    axes_reference.fits(reference)
    known = {name for name in axes_moving.spaces if name in axes_reference.spaces}
    rows = MakingRows(Side(axes_moving, moving), Side(axes_reference, reference), transport.statistics)
    Carry.by(axes_moving, axes_reference, {name: _anything(axes_moving, axes_reference, name) for name in known})  # of one family, or it raises
    Walk(rows, transport, costs or {}).run()
    return Carry.by(axes_moving, axes_reference, rows.maps)


def ot_align_all(models: Sequence[tuple[Axes, Weights]], *, reference: int = 0, refine: int = 0, transport: Transport = EXACT) -> tuple[Carry, ...]:
    """Map several networks into the coordinates of one of them.

    As in the paper, one network is the estimate of the fused one, and all are aligned to it; their average is then the fused
    network. `refine` times this average becomes the estimate, and all are aligned to it anew.

    Args:
        models: (table, weights) of each; widths may differ.
        reference: which of them is the estimate; the result has its widths.
        refine: how often the average takes its place.
        transport: as for `ot_fusion`.

    Returns:
        An edit for each network.

    Raises:
        TooFewSets: fewer than two networks.
        BadParameter: no such reference.
        NamesDiffer, ShapesDiffer, MissingExtra: as `ot_fusion`.

    >>> from loomweight.weights.axes import axes
    >>> def mlp(width): return torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, 2))
    >>> models = [(axes(model, torch.zeros(1, 4)), Weights.of(model.state_dict())) for model in (mlp(6), mlp(6), mlp(6))]
    >>> edits = ot_align_all(models, refine=1)
    >>> sets = [edit(weights) for edit, (_, weights) in zip(edits, models)]
    """
    if len(models) < 2:
        raise TooFewSets(f"aligning needs at least 2 networks, got {len(models)}.")
    if not -len(models) <= reference < len(models):
        raise BadParameter(f"reference must be the number of one of {len(models)} networks, found {reference}.")
    axes, estimate = models[reference]
    edits = tuple(ot_fusion(table, weights, axes, estimate, transport=transport) for table, weights in models)
    for _ in range(refine):
        estimate = _mean([edit(weights) for edit, (_, weights) in zip(edits, models, strict=True)])
        edits = tuple(ot_fusion(table, weights, axes, estimate, transport=transport) for table, weights in models)
    return edits


def _anything(axes: Axes, target: Axes, name: str) -> UnitMap:
    """A map of the right shape, without memory."""
    makes = torch.zeros(1).expand(*target.shape(name)[:-1], target.shape(name)[-1], axes.shape(name)[-1])
    return UnitMap(makes, makes.mT)


def _mean(sets: Sequence[Weights]) -> Weights:
    """The average, as an estimate to align to; integers are those of the first."""
    first = sets[0]

    def open_(name: str) -> Block:
        blocks = [weights.open(name) for weights in (sets if first.spec[name].averages else sets[:1])]
        work = first.spec[name].work
        return lambda lo, hi: torch.stack([block(lo, hi).to(work) for block in blocks]).sum(0).div(len(blocks)).to(work)

    return Weights(first.spec, open_, ties=first.ties, label="mean")
