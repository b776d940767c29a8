"""A picture of who has what: bars for a few clients, a map for many."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..report.drawing import BLUE, sheet, written
from .counts import Counts, counts
from .partition import Parts

FEW = 40


def picture(parts: Parts, labels: Tensor, path: str | Path) -> Path:
    """Draw how many samples of each class every client has; a `.png`, `.svg` or `.pdf`.

    Up to 40 clients are a bar each, with their names. More are columns of a map, the darker the larger the part of a client's samples in that class,
    under a line of how much each has; clients with much of the same class stand side by side.

    Args:
        parts: what a partition gives.
        labels: of the data that was divided.
        path: where the picture goes.

    Raises:
        OutputError, MissingExtra: it cannot be written, or matplotlib is not installed.
        BadParameter: the labels are not one whole number for each sample, or of other data.

    >>> import pathlib, tempfile
    >>> from loomweight.federate.partition import Dirichlet, picture
    >>> labels = torch.arange(10).repeat(30)
    >>> picture(Dirichlet(0.1)(labels, clients=10, seed=0), labels, pathlib.Path(tempfile.mkdtemp()) / "who.png").name
    'who.png'
    """
    found, place = counts(parts, labels), Path(path)
    few = len(found.clients) <= FEW
    figure = sheet(place, 9.0, 0.28 * len(found.clients) + 1.4) if few else sheet(place, 11.0, 6.0)
    (_bars if few else _map)(figure, found)
    return written(figure, place)


def _bars(figure: Any, found: Counts) -> None:
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    left = np.zeros(len(found.clients))
    for label, color, column in zip(found.classes, _colors(len(found.classes)), found.table.T, strict=True):
        axes.barh(found.clients, column, left=left, color=color, label=str(label), height=0.8)
        left += column
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set(xlabel="samples", title=_title(found))
    if len(found.classes) <= 20:
        figure.legend(*axes.get_legend_handles_labels(), title="class", loc="outside right upper", fontsize="small", frameon=False)
    else:
        _scale(figure, axes, found)


def _scale(figure: Any, axes: Any, found: Counts) -> None:
    """A scale of colours, where there are too many classes for a legend."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure.colorbar(ScalarMappable(Normalize(found.classes[0], found.classes[-1]), "turbo"), ax=axes, label="class")


def _map(figure: Any, found: Counts) -> None:
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.6))
    upper.spines[["top", "right"]].set_visible(False)
    order = found.by_mixture()
    upper.stairs(found.sizes[order], np.arange(len(order) + 1) - 0.5, fill=True, color=BLUE)
    upper.set(ylabel="samples", title=_title(found))
    shown = lower.imshow(found.shares[order].T, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    step = -(-len(found.classes) // 30)
    lower.set_yticks(range(0, len(found.classes), step), found.classes[::step], fontsize=8)
    lower.set(xlabel="clients, in the order of the class that they have most of", ylabel="class")
    figure.colorbar(shown, ax=lower, label="part of the client's samples")


def _title(found: Counts) -> str:
    sizes = found.sizes
    held = (found.table > 0).sum(1)
    return (
        f"{sizes.sum():,} samples at {len(sizes):,} clients: {sizes.min():,} to {sizes.max():,} each, median {np.median(sizes):,.0f}; "
        f"{held.min()} to {held.max()} of {len(found.classes)} classes"
    )


def _colors(classes: int) -> list[Any]:
    from matplotlib import colormaps

    if classes <= 20:
        return list(colormaps["tab10" if classes <= 10 else "tab20"].colors[:classes])  # type: ignore[attr-defined]
    return [colormaps["turbo"](place) for place in np.linspace(0, 1, classes)]
