"""kernel: how far a convolution reaches: the middle of its kernel is used, and less is padded."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ...errors import BadParameter
from ..draft import Draft
from ..parts import Cut
from ..slots import Change
from ..space_table import Line
from ..transforms import Transforms, reaches


def kernel(draft: Draft, line: Line) -> None:
    """`kernel blocks.*.depthwise : 3 5 7`: odd sizes; the layer's padding shrinks with it, so that the output keeps its size.

    With `transforms` behind the values, a smaller kernel is the middle of the next larger one times a learned matrix (OFA's).
    """
    layers: dict[str, Any] = {name: module for name, module in draft.model.named_modules() if _may_vary(module)}
    matched = draft.found(line, layers, "convolution with a square odd kernel above 1")
    told = [(name, _sizes(line, name, layers[name]), [name]) for name in matched]
    for (name, sizes, _), field in zip(told, draft.add(line, told), strict=True):
        layer = layers[name]
        reach = reaches(sizes) if "transforms" in line.words else ()
        for axis in range(2, layer.weight.ndim):
            draft.windows.setdefault(f"{name}.weight", {})[axis] = Cut(layer.kernel_size[0], field, centred=True, sizes=reach)
        if reach:
            draft.through.setdefault(f"{name}.weight", []).append((0, partial(_transformed, sizes, field)))
        for key, make in _attributes(layer, field).items():
            draft.changes.append(Change(layer, "__dict__", key, (field,), make))


def _transformed(sizes: tuple[int, ...], field: str, how: nn.Module) -> tuple[nn.Module, list[Change]]:
    made = Transforms(how, sizes)
    return made, [Change(made, "__dict__", "size", (field,), lambda values: values[field])]


def _may_vary(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd) and len(set(module.kernel_size)) == 1 and module.kernel_size[0] > 1 and module.kernel_size[0] % 2 == 1


def _sizes(line: Line, name: str, layer: Any) -> tuple[int, ...]:
    whole = layer.kernel_size[0]
    if bad := [value for value in line.values if not isinstance(value, int) or value % 2 == 0 or not 0 < value <= whole]:
        raise BadParameter(f"{line.label}: {name} has a kernel of {whole}; its values are odd and at most {whole}, found {bad[0]!r}.")
    if max(line.values) != whole:
        raise BadParameter(f"{line.label}: {name} has a kernel of {whole}, but its largest value is {max(line.values)}; add {whole}.")
    most = (whole - min(line.values)) // 2
    if not isinstance(layer.padding, str) and any(p < most * d for p, d in zip(layer.padding, layer.dilation, strict=True)):
        raise BadParameter(
            f"{line.label}: {name} is padded by {layer.padding}, too little for a kernel of {min(line.values)} to give an output of the same size."
        )
    return tuple(sorted(line.values))


def _attributes(layer: Any, field: str) -> dict[str, Callable[[Any], Any]]:
    whole, padding, dilation = layer.kernel_size[0], layer.padding, layer.dilation
    twice = list(layer._reversed_padding_repeated_twice)

    def less(values: Any) -> list[int]:
        return [d * (whole - values[field]) // 2 for d in dilation]

    made: dict[str, Callable[[Any], Any]] = {"kernel_size": lambda values: (values[field],) * len(layer.kernel_size)}
    if not isinstance(padding, str):
        made["padding"] = lambda values: tuple(p - n for p, n in zip(padding, less(values), strict=True))
    made["_reversed_padding_repeated_twice"] = lambda values: [p - n for p, n in zip(twice, [n for n in reversed(less(values)) for _ in (0, 1)], strict=True)]
    return made
