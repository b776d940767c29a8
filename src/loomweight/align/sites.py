"""Where a running model shows the units of a space: what modules read and what they put out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ..evidence import batches
from ..weights.axes.table import Axes
from .families import Family, Place


@dataclass(frozen=True)
class Site:
    """One module's input or output that carries units of a family along its features.

    Args:
        module: its name.
        reads: its input; otherwise its output.
        features: the axis of the features in that tensor.
        place: the axis of the module's weight that has the same units.
    """

    module: str
    reads: bool
    features: int
    place: Place


def sites(axes: Axes, family: Family, model: nn.Module) -> list[Site]:
    """All sites of a family: modules whose weight sums over its units read them, modules whose weight makes them put them out."""
    found = []
    modules = dict(model.named_modules())
    for place in family.places:
        name, _, word = place.tensor.rpartition(".")
        module = modules.get(name)
        if module is None or word != "weight":
            continue
        layout = axes.layouts[place.tensor]
        reads = layout.consumed == place.axis
        makes = len(layout.axes) - 1 if isinstance(module, nn.Embedding) else 0 if layout.consumed != 0 else 1
        if reads or place.axis == makes:
            found.append(Site(name, reads, 1 if isinstance(module, _ConvNd | _NormBase | nn.GroupNorm) else -1, place))
    return found


def seen(axes: Axes, site: Site, value: Any) -> Tensor | None:
    """The features of a module's input or output, "features examples"; None where they are not what the weight's axis says."""
    tensors = batches.tensors(value)
    if not tensors or not tensors[0].is_floating_point() or tensors[0].ndim < 2:
        return None
    layout = axes.layouts[site.place.tensor].axes[site.place.axis]
    features = tensors[0].detach().cpu().double().movedim(site.features, 0)
    if len(features) != axes.length(layout):
        return None
    begin = axes.length(layout[: site.place.term])
    return features.flatten(1).narrow(0, begin, axes.length((layout[site.place.term],)))


def counted(ran: Iterable[Site]) -> list[Site]:
    """Of the sites of a family that ran, those that count: inputs, where there are any; otherwise outputs."""
    every = list(ran)
    return [site for site in every if site.reads] or every
