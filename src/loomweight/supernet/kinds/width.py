"""width: how many units of a layer, of a residual stream, of an embedding are used."""

from collections.abc import Callable, Mapping

from torch import nn

from ...errors import BadParameter
from ..draft import Draft, homes, sizes_in
from ..space_table import Line
from .rank import ranks

#: last words of the names of spaces inside attention
INSIDE = ("heads", "queries", "dims", "values")


def width(draft: Draft, line: Line) -> None:
    """`width features.* : 16 32`: units that a layer makes, by the layer's name; layers that make the same units vary together.

    A pattern names the first layer of those that make the units, or what it lies in; a name without a pattern may be any of them.
    Ranks of adapters are left to `rank`.
    """
    _add(draft, line, lambda space: True, "width")


def embedding(draft: Draft, line: Line) -> None:
    """`embedding * : 64 128`: the width of an embedding, and with it that of the stream that it opens; the vocabulary stays."""
    words = {f"{name}.weight" for name, module in draft.model.named_modules() if isinstance(module, nn.Embedding)}
    _add(draft, line, lambda space: any(use.tensor in words and use.axis == 1 for use in draft.axes.uses(space)), "width of an embedding")


def _add(draft: Draft, line: Line, allowed: Callable[[str], bool], what: str) -> None:
    others = set(ranks(draft.axes).values())
    labels = {label(space): space for space in draft.axes.spaces if space.rpartition(".")[2] not in INSIDE and space not in others and allowed(space)}
    makers, modules = _makers(draft, labels), dict(draft.model.named_modules())
    exact = {line.where: makers[line.where]} if line.where in makers else {}
    matched = exact or {name: labels[name] for name in draft.found(line, labels, f"{what} that may vary (see `loomweight axes`)")}
    for name, space in matched.items():
        if space in draft.spaces:
            raise BadParameter(f"{line.label}: the units of {name} vary already as {draft.spaces[space]!r}.")
        if recurrent := [home for home in homes(draft.axes, space) if isinstance(modules.get(home), nn.RNNBase)]:
            kind = type(modules[recurrent[0]]).__name__
            raise BadParameter(f"{line.label}: {recurrent[0]} is an nn.{kind}, whose weights torch keeps as one list: its units cannot vary; use cells.")
    told = [(label(space), sizes_in(line, name, draft.axes.spaces[space].size), homes(draft.axes, space)) for name, space in matched.items()]
    for space, field in zip(matched.values(), draft.add(line, told), strict=True):
        draft.spaces[space] = field


def _makers(draft: Draft, labels: Mapping[str, str]) -> dict[str, str]:
    """Module -> the space of its outputs."""
    found = dict(labels)
    modules = dict(draft.model.named_modules())
    for tensor, layout in draft.axes.layouts.items():
        name = tensor.rpartition(".")[0]
        makes = len(layout.axes) - 1 if isinstance(modules.get(name), nn.Embedding) else next((i for i in range(len(layout.axes)) if i != layout.consumed), 0)
        axis = layout.axes[makes] if layout.axes else ()
        units = axis[0][0] if len(axis) == 1 and axis[0] else None
        if isinstance(units, str) and units in labels.values():
            found.setdefault(name, units)
    return found


def label(space: str) -> str:
    """The name of a space as that of the module that makes it."""
    return space.removeprefix("layer.")
