"""bits: how finely weights are rounded."""

from functools import partial

from torch import nn

from ...derive.quantised import UNROUNDED, Quantised
from ...errors import BadParameter
from ..draft import Draft
from ..slots import Change
from ..space_table import Line


def bits(draft: Draft, line: Line) -> None:
    """`bits layers.*.mlp : 2 4 8 32`: the weight of a layer in so many bits, one step for each output unit, whatever its width; 32 rounds nothing."""
    layers = {name: module for name, module in draft.model.named_modules() if _may_be_rounded(module)}
    matched = draft.found(line, layers, "layer with a matrix or kernels as its weight")
    if bad := [value for value in line.values if not isinstance(value, int) or isinstance(value, bool) or not (2 <= value <= 16 or value == UNROUNDED)]:
        raise BadParameter(f"{line.label}: bits are whole numbers from 2 to 16, or {UNROUNDED} for a weight that is not rounded; found {bad[0]!r}.")
    for name, field in zip(matched, draft.add(line, [(name, tuple(sorted(line.values)), [name]) for name in matched]), strict=True):
        draft.through.setdefault(f"{name}.weight", []).append((1, partial(_rounded, field, _output(layers[name]))))


def _rounded(field: str, axis: int, how: nn.Module) -> tuple[nn.Module, list[Change]]:
    made = Quantised(how, UNROUNDED, axis)
    return made, [Change(made, "__dict__", "bits", (field,), lambda values: values[field])]


def _may_be_rounded(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim >= 2 and weight.is_floating_point()


def _output(module: nn.Module) -> int:
    """The axis of output units: the first, save where weights are stored the other way round."""
    return 1 if getattr(module, "transposed", False) or type(module).__name__ == "Conv1D" else 0
