"""What two networks' layers read and put out on the same data: how far paired units are apart, and least squares for the wider network."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..engines.progress import track
from ..errors import BadParameter
from ..evidence import batches
from ..evidence.grams import Forward, run_model
from ..evidence.hooks import watched
from ..weights import Weights
from ..weights.axes import Axes, Use, unfolded
from .least_squares import Normal, solved
from .moments import channel_axis, made_axis
from .passes import loaded
from .patches import is_matrix, results, rows
from .widths import BOTH, FIRST, SECOND, Origin, Widths

#: module -> (input, output) of each time it ran on a batch
Seen = dict[str, list[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class Fit:
    """What a merged network's layers are fitted to.

    Args:
        model: the architecture of the parents; its own weights do not matter.
        loader: gives batches, the same ones every time; labels are not needed. Other data than the parents were trained on serves too.
        ridge: see `refit`; the weights before the fit are those of the two networks joined.
        forward: (model, batch) -> anything: how the model is run.
        memory: bytes for sums at a time; where the layers need more, the data is gone through several times.
        progress: show a bar on stderr, if that is a terminal.
    """

    model: nn.Module = field(repr=False)
    loader: Iterable[Any] = field(repr=False)
    ridge: float = 1e-4
    forward: Forward = run_model
    memory: int = 1 << 30
    progress: bool = True

    def both(self, first: Weights, second: Weights, modules: Iterable[str]) -> Iterator[tuple[Seen, Seen]]:
        """Batch by batch, what these modules of both networks read and put out."""
        twins = [loaded(self.model, weights) for weights in (first, second)]
        device = next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))
        names, count = list(modules), 0
        for batch in track(self.loader, "features of both networks", show=self.progress):
            moved = batches.to_device(batch, device)
            yield self._seen(twins[0], names, moved), self._seen(twins[1], names, moved)
            count += 1
        if not count:
            raise BadParameter("the loader gave no batch; one that can be gone through several times is needed (a list, a DataLoader).")

    def _seen(self, model: nn.Module, names: list[str], batch: Any) -> Seen:
        found: Seen = {}

        def watch(name: str, given: Tensor, output: Tensor) -> None:
            found.setdefault(name, []).append((given.clone(), output.clone()))  # what comes behind may overwrite them

        with torch.no_grad(), watched({name: model.get_submodule(name) for name in names}, watch):
            self.forward(model, batch)
        return found


def distances(axes: Axes, fit: Fit, first: Weights, second: Weights) -> dict[str, Tensor]:
    """Space -> sum over the data of (a - b)^2 for each pair of units, where linear or convolutional layers put them out."""
    found: dict[str, Tensor] = {}
    makers = {name: made_axis(module) for name, module in fit.model.named_modules() if _weight(name) in axes.layouts}
    makers = {name: axis for name, axis in makers.items() if axis is not None}
    for ours, theirs in fit.both(first, second, makers):
        for name in ours:
            for (_, a), (_, b) in zip(ours[name], theirs[name], strict=True):
                channels = (a.double() - b.double()).square().movedim(channel_axis(fit.model.get_submodule(name)), 0).flatten(1).sum(1)
                for space, units in _by_unit(axes, _weight(name), makers[name] or 0, channels):
                    found[space] = found.get(space, 0) + units
    return found


def _by_unit(axes: Axes, weight: str, axis: int, channels: Tensor) -> Iterator[tuple[str, Tensor]]:
    layout = axes.layouts[weight]
    column = channels.reshape([-1 if d == axis else 1 for d in range(len(layout.axes))])
    for t, term in enumerate(layout.axes[axis]):
        for f, factor in enumerate(term):
            if isinstance(factor, str) and not axes.spaces[factor].within:
                yield factor, unfolded(axes, column, Use(weight, axis, t, f)).sum(-1)


def fitted(widths: Widths, fit: Fit, first: Weights, second: Weights, before: Weights) -> dict[str, Tensor]:
    """New weights and biases, by name, for the layers that least squares can be solved for."""
    found: dict[str, Tensor] = {}
    layers = {name: _Layer.of(widths, name, module) for name, module in fit.model.named_modules() if _fits(widths.axes, name, module, before)}
    for some in _in_memory(layers, fit.memory):
        for ours, theirs in fit.both(first, second, some):
            for name in ours:
                for a, b in zip(ours[name], theirs[name], strict=True):
                    some[name].add(a, b)
        for name, layer in some.items():
            if layer.normal.rows:
                found |= layer.solve(name, before, fit.ridge)
    return found


def _weight(name: str) -> str:
    return f"{name}.weight" if name else "weight"


def _fits(axes: Axes, name: str, module: nn.Module, weights: Weights) -> bool:
    """Plain layers without groups whose weight is theirs alone and sums over units that the table knows."""
    weight = _weight(name)
    if not is_matrix(module) or getattr(module, "groups", 1) != 1 or weight not in axes.layouts or weight in {*weights.ties, *weights.ties.values()}:
        return False
    layout, read = axes.layouts[weight], 1 - (made_axis(module) or 0)
    return layout.consumed == read or not any(isinstance(factor, str) for term in layout.axes[read] for factor in term)


def _in_memory(layers: "dict[str, _Layer]", memory: int) -> Iterator[Mapping[str, "_Layer"]]:
    some: dict[str, _Layer] = {}
    for name, layer in layers.items():
        if some and sum(other.nbytes for other in some.values()) + layer.nbytes > memory:
            yield some
            some = {}
        some[name] = layer
    yield some


class _Layer:
    """Sums for one layer of the wider network: its inputs and outputs are those of both networks, averaged where units are merged."""

    def __init__(self, module: Any, read: Origin, made: Origin) -> None:
        self.module, self.read, self.made = module, read, made
        self.each = module.weight[0, 0].numel()
        self.sizes = (len(read.place) * self.each + (module.bias is not None), len(made.place))
        self.nbytes = 8 * self.sizes[0] * sum(self.sizes)
        self._normal: Normal | None = None

    @staticmethod
    def of(widths: Widths, name: str, module: nn.Module) -> "_Layer":
        """Of a layer of the parents' architecture."""
        axes, made = widths.axes.layouts[_weight(name)].axes, made_axis(module) or 0
        return _Layer(module, widths.along(axes[1 - made]), widths.along(axes[made]))

    @property
    def normal(self) -> Normal:
        """The sums; memory is taken when they are first asked for."""
        if self._normal is None:
            self._normal = Normal.empty(1, *self.sizes, self.module.weight.device)
        return self._normal

    def add(self, ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
        """One run of the layer in both networks."""
        axis = channel_axis(self.module)
        self.normal.add(rows(self.module, _mixed(self.read, ours[0], theirs[0], axis)), results(self.module, _mixed(self.made, ours[1], theirs[1], axis)))

    def solve(self, name: str, before: Weights, ridge: float) -> dict[str, Tensor]:
        """The weight and the bias; a unit of one network reads nothing of the other's own units."""
        weight, bias = _weight(name), _weight(name).removesuffix("weight") + "bias"
        sums, biased = self.normal.checked(name), self.module.bias is not None
        flat = before[weight].double().to(sums.gram.device)
        matrix = flat if made_axis(self.module) else flat.flatten(1).T
        stacked = torch.cat([matrix, before[bias].to(flat)[None]]) if biased else matrix.clone()
        inputs = self.read.owner.repeat_interleave(self.each)
        inputs = torch.cat([inputs, torch.tensor([BOTH])]) if biased else inputs
        for who in (FIRST, SECOND, BOTH):
            made, read = (self.made.owner == who).nonzero().flatten(), (inputs & who).nonzero().flatten()
            if len(made):
                gram, cross = sums.gram[0][read][:, read], sums.cross[0][read][:, made]
                stacked[read[:, None], made] = solved(gram, cross, stacked[read[:, None], made], ridge)
        self._normal = None
        count = len(stacked) - biased
        shaped = stacked[:count] if made_axis(self.module) else stacked[:count].T.reshape(flat.shape)
        return {weight: shaped.to(before.spec[weight].dtype)} | ({bias: stacked[count].to(before.spec[bias].dtype)} if biased else {})


def _mixed(origin: Origin, ours: Tensor, theirs: Tensor, axis: int) -> Tensor:
    """Channels of the wider network: the mean of both where a unit is merged."""
    shape = [1] * ours.ndim
    shape[axis] = -1
    a, b = (tensor.index_select(axis, origin.place.to(tensor.device)) for tensor in (ours, theirs))
    return a * origin.share(FIRST).reshape(shape).to(a) + b * origin.share(SECOND).reshape(shape).to(b)
