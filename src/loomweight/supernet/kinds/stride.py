"""stride: how far apart a convolution or a pooling looks: where a network loses resolution."""

from typing import Any

from ...errors import BadParameter
from ..draft import Draft
from ..slots import Change
from ..space_table import Line


def stride(draft: Draft, line: Line) -> None:
    """`stride stage2.0.conv1 : 1 2`: the same in all directions; the layer's own stride must be among the values.

    The largest choice is the smallest stride, which computes most, whatever the layer's own is.
    """
    layers = {name: module for name, module in draft.model.named_modules() if hasattr(module, "stride") and not isinstance(module.stride, str)}
    matched = draft.found(line, layers, "layer with a stride")
    told = [(name, _values(line, name, layers[name]), [name]) for name in matched]
    for (name, _, _), field in zip(told, draft.add(line, told), strict=True):
        layer = layers[name]
        draft.changes.append(Change(layer, "__dict__", "stride", (field,), _make(layer.stride, field)))


def _values(line: Line, name: str, layer: Any) -> tuple[int, ...]:
    own = layer.stride[0] if isinstance(layer.stride, tuple) else layer.stride
    if bad := [value for value in line.values if not isinstance(value, int) or value < 1]:
        raise BadParameter(f"{line.label}: a stride is a whole number of at least 1, found {bad[0]!r}.")
    if own not in line.values:
        raise BadParameter(f"{line.label}: {name} has stride {own}, which is not among the values; add it.")
    return tuple(sorted(line.values, reverse=True))


def _make(before: Any, field: str) -> Any:
    return lambda values: (values[field],) * len(before) if isinstance(before, tuple) else values[field]
