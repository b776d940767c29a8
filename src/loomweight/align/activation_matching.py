"""Activation matching: units that do the same on the same data are put at the same place.

Papers: Convergent Learning: Do different neural networks learn the same representations? (2015, https://arxiv.org/abs/1511.07543);
Git Re-Basin: Merging Models modulo Permutation Symmetries (2022, https://arxiv.org/abs/2209.04836), section 3.1.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..edits.permute import Permute
from ..errors import BadParameter, NonFinite
from ..evidence import batches
from ..evidence.grams import Forward, run_model
from ..evidence.hooks import watched
from ..evidence.untouched import untouched
from ..shapes import Float64
from ..weights.axes.orders import then
from ..weights.axes.table import Axes
from ..weights.memory import from_module
from .assignment import Gain
from .descent import started
from .families import Family, families, rows
from .nested import best_orders
from .pairs import Pair, square
from .sites import Site, counted, seen, sites
from .weight_matching import matched

#: what is gained by putting a unit at another's place
MEASURES = ("correlation", "product")
#: site -> activations of its units, "units examples", from one model on one batch
Shown = Mapping[Site, Tensor]


def activation_matching(
    axes: Axes,
    moving_model: nn.Module,
    reference_model: nn.Module,
    loader: Iterable[Any],
    *,
    first: int = 8,
    measure: str = "correlation",
    forward: Forward = run_model,
) -> Permute:
    """argmax over orders P of the sum over units i of corr(reference unit i, moving unit P(i)), for each space on its own.

    Which activations: what modules read whose weight sums over the units (behind the nonlinearity, as the next layer sees them). Where
    no such module runs, what the modules put out that make them (their weight, or a norm's, has the units on its other axis). The
    correlation is over examples and positions; several sites add up. Spaces that no module shows (inside nn.LSTM or
    nn.MultiheadAttention) are ordered afterwards by their weights, all others as they are then. Heads and dims are ordered together.
    Units that no batch wakes cannot be told apart: they take the places that are left, by position.

    Args:
        axes: which axes carry which units, for both models.
        moving_model: its weights are to be brought into the coordinates of the other's. Both are run in evaluation mode and left as they were.
        reference_model: stays.
        loader: gives batches; both models see the same ones. Labels are not needed.
        first: how many batches.
        measure: "correlation" (Pearson's; 0 for a unit that is constant), or "product", the mean of the product of both activations,
            whose assignment brings the activations closest together: min sum |z_i - z'_P(i)|^2.
        forward: (model, batch) -> anything: how a model is run.

    Returns:
        The edit of the moving weights. Ties leave units where they are.

    Raises:
        BadParameter: the loader gave no batch; a module ran more often in one model than in the other.
        NonFinite: an activation is NaN or Inf; the message names the module.
        NamesDiffer, ShapesDiffer: the table does not fit a model.

    >>> from loomweight.weights.axes import axes
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> table, weights = axes(model, torch.zeros(1, 2)), lw.load(model)
    >>> model[0].weight.data, model[0].bias.data = torch.eye(3)[:, :2], torch.ones(3)
    >>> twin = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> twin[0].weight.data, twin[0].bias.data = torch.eye(3)[:, :2].flip(0), torch.ones(3)
    >>> data = [torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])]
    >>> [order.tolist() for _, order in activation_matching(table, twin, model, data).orders]
    [[2, 1, 0]]
    """
    pair, every = matched(axes, from_module(moving_model), from_module(reference_model))
    where = [site for family in every for site in sites(axes, family, reference_model)]
    if measure not in MEASURES:
        raise BadParameter(f"the measure must be 'correlation' or 'product', found {measure!r}.")
    stats: dict[Site, _Together] = {}
    for ours, theirs in _batches(axes, (reference_model, moving_model), where, islice(loader, first), forward):
        for site in (site for site in where if site in ours and site in theirs):
            stats[site] = stats.get(site, _Together()).plus(ours[site], theirs[site], site)
    orders: dict[str, Tensor] = {}
    covered: set[str] = set()
    for family in every:
        gains = _gains(axes, family, stats, measure)
        covered |= {name for spaces in gains for name in spaces}
        orders = then(axes, orders, best_orders(family, gains))
    return Permute.by(axes, _by_weights(pair, set(axes.spaces) - covered, orders))


def _gains(axes: Axes, family: Family, stats: Mapping[Site, "_Together"], measure: str) -> dict[tuple[str, ...], Gain]:
    found: dict[tuple[str, ...], Gain] = {}
    for site in counted(site for site in stats if site.place in family.places):
        square(axes, found, site.place).add_(stats[site].measured(measure))
    return found


def _by_weights(pair: Pair, spaces: set[str], orders: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Also the orders of spaces that were not seen."""
    left = families(pair.axes, pair.tensors, spaces)
    if not left:
        return orders
    climb = started(pair, left, orders)
    climb.ascend(100, 0)
    return climb.orders


def _batches(axes: Axes, models: tuple[nn.Module, nn.Module], where: list[Site], loader: Iterable[Any], forward: Forward) -> Iterator[tuple[Shown, Shown]]:
    """What both models show on every batch."""
    count = 0
    with torch.no_grad(), untouched(models[0]), untouched(models[1]), _modules_run():
        for batch in loader:
            yield _shown(axes, models[0], where, batch, forward), _shown(axes, models[1], where, batch, forward)
            count += 1
    if not count:
        raise BadParameter("the loader gave no batch; matching by activations needs at least one.")


def _shown(axes: Axes, model: nn.Module, where: list[Site], batch: Any, forward: Forward) -> Shown:
    by_name: dict[str, list[Site]] = {}
    for site in where:
        by_name.setdefault(site.module, []).append(site)
    found: dict[Site, list[Tensor]] = {}

    def watch(name: str, inputs: Any, output: Any) -> None:
        for site in by_name[name]:
            features = seen(axes, site, inputs if site.reads else output)
            if features is not None:
                found.setdefault(site, []).append(rows(axes, features, 0, site.place))

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with watched({name: module for name, module in model.named_modules() if name in by_name}, watch):
        forward(model, batches.to_device(batch, device))
    return {site: torch.cat(parts, 1) for site, parts in found.items()}


@contextmanager
def _modules_run() -> Iterator[None]:
    """PyTorch's fast path for transformers runs no modules; it is off inside."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Together:
    """Sums over examples of the activations of two models' units, and of their products, about the first batch's means."""

    def __init__(self) -> None:
        self.count = 0

    def plus(self, ours: Float64[Tensor, "units examples"], theirs: Float64[Tensor, "units examples"], site: Site) -> "_Together":
        """Further examples."""
        if ours.shape != theirs.shape:
            raise BadParameter(f"module {site.module!r} shows {tuple(ours.shape)} activations in one model, {tuple(theirs.shape)} in the other.")
        if not (ours.isfinite().all() and theirs.isfinite().all()):
            raise NonFinite(f"what runs through module {site.module!r} holds NaN or Inf; look at the data and at the weights before it.")
        if not self.count:
            self.centres = ours.mean(1, keepdim=True), theirs.mean(1, keepdim=True)
            self.sums = [torch.zeros(len(ours), dtype=torch.float64) for _ in range(4)]
            self.products = torch.zeros(len(ours), len(ours), dtype=torch.float64)
        a, b = ours - self.centres[0], theirs - self.centres[1]
        for total, part in zip(self.sums, (a.sum(1), b.sum(1), a.square().sum(1), b.square().sum(1)), strict=True):
            total += part
        self.products += a @ b.T
        self.count += ours.shape[1]
        return self

    def measured(self, measure: str) -> Float64[Tensor, "units units"]:
        """Of each reference unit with each moving one."""
        a, b, aa, bb = (total / self.count for total in self.sums)
        products = self.products / self.count
        if measure == "product":
            first, second = (centre.squeeze(1) for centre in self.centres)
            return products + first[:, None] * b + a[:, None] * second + first[:, None] * second
        spreads = [(square - mean.square()).clamp_min(0).sqrt() for mean, square in ((a, aa), (b, bb))]
        alive = [spread > 1e-7 * (centre.squeeze(1).abs() + spread.max()) for spread, centre in zip(spreads, self.centres, strict=True)]
        scaled = [torch.where(living, 1 / spread.where(living, 1), 0) for spread, living in zip(spreads, alive, strict=True)]
        return (products - a[:, None] * b) * scaled[0][:, None] * scaled[1]
