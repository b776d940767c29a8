"""What every operation of a ReLU network does to sums over paths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional


@dataclass(frozen=True)
class Paths:
    """For every entry of an activation the sum over the paths that end in it."""

    sums: Tensor


def powered(value: Any, q: float) -> Any:
    """|w|^q."""
    return value.abs() ** q if isinstance(value, Tensor) else abs(value) ** q


@dataclass(frozen=True)
class Step:
    """One operation of the graph with its arguments."""

    node: Node
    args: list[Any]
    kwargs: dict[str, Any]
    q: float

    @cached_property
    def name(self) -> str:
        """Without namespace, overload and the underscore of writing in place."""
        schema = self.node.target._schema  # type: ignore[union-attr]
        name = schema.name.split("::")[1]
        return name[:-1] if schema.is_mutable and name.endswith("_") else name

    @cached_property
    def given(self) -> dict[str, Any]:
        """Argument name -> value, defaults filled in."""
        schema = self.node.target._schema.arguments  # type: ignore[union-attr]
        found = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
        return found | {argument.name: value for argument, value in zip(schema, self.args, strict=False)} | self.kwargs

    @property
    def where(self) -> str:
        """The module that it is in."""
        stack = list((self.node.meta.get("nn_module_stack") or {}).values())
        name = stack[-1][0].removeprefix("L['self'].") if stack else ""
        return repr(name) if name else "the model"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its result."""
        value = self.node.meta["val"] if "val" in self.node.meta else self.node.meta["tensor_meta"]
        return tuple(value.shape if hasattr(value, "shape") else value[0].shape)

    def again(self, change: Callable[[Any], Any]) -> Any:
        """The operation on changed arguments, its results as paths."""
        made = self.node.target(*_each(self.args, change), **{key: _each(value, change) for key, value in self.kwargs.items()})  # type: ignore[operator]
        return _each(made, lambda value: Paths(value) if isinstance(value, Tensor) else value)

    def weighed(self, value: Any) -> Any:
        """Sums over paths as they are, stored tensors to the power."""
        return value.sums if isinstance(value, Paths) else powered(value, self.q) if isinstance(value, Tensor) and value.is_floating_point() else value


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    return type(value)(_each(item, change) for item in value) if isinstance(value, list | tuple) else change(value)


Operation = Callable[[Step], Any]


def _moved(step: Step) -> Any:
    """Data moves; stored tensors among it (a class token) begin paths."""
    return step.again(step.weighed)


def _product(step: Step) -> Any:
    """Linear in one activation."""
    factors = [value for key, value in step.given.items() if key not in ("bias",) and not (key == "self" and step.name.startswith(("addm", "badd")))]
    held = [value for factor in factors for value in (factor if isinstance(factor, list | tuple) else [factor]) if isinstance(value, Paths)]
    numbers = any(step.given.get(key, 1) != 1 for key in ("alpha", "beta"))
    return None if len(held) > 1 or numbers else step.again(step.weighed)


def _scaled(step: Step) -> Any:
    """Times or over a number or a stored tensor."""
    first, second = step.given["self"], step.given["other"]
    if step.name == "div" and (isinstance(second, Paths) or step.given.get("rounding_mode")):
        return None
    if isinstance(first, Paths) and isinstance(second, Paths):
        return None
    one, other = ((value.sums if isinstance(value, Paths) else powered(value, step.q)) for value in (first, second))
    return Paths(one / other if step.name == "div" else one * other)


def _added(step: Step) -> Any:
    """Sums and differences, and the larger or smaller of two: paths of both."""
    parts = [step.given["self"], step.given["other"]]
    one, other = ((value.sums if isinstance(value, Paths) else powered(value, step.q)) for value in parts)
    alpha = powered(step.given.get("alpha", 1), step.q)
    return Paths(alpha * one + other if step.name == "rsub" else one + alpha * other)


def _same(step: Step) -> Any:
    """ReLU of what is not negative; a change of sign."""
    return Paths(next(iter(step.given.values())).sums)


def _clamp(step: Step) -> Any:
    low, high = step.given.get("min"), step.given.get("max")
    return _same(step) if not isinstance(low, Tensor | None) and low == 0 and high is None else None


def _padded(step: Step) -> Any:
    mode, value = step.given.get("mode", "constant"), step.given.get("value") or 0.0
    return Paths(functional.pad(step.given["self"].sums, step.given["pad"], mode, powered(value, step.q) if mode == "constant" else None))


def _window(step: Step, kernel: str = "kernel_size") -> Callable[[Tensor], Tensor]:
    """The sum over every window of a pooling."""
    count = int(next(char for char in step.name if char.isdigit()))
    size, stride, padding, dilation = (_wide(step.given.get(key), count) for key in (kernel, "stride", "padding", "dilation"))
    stride = stride or size

    def sums(x: Tensor) -> Tensor:
        lead = x.shape[: x.ndim - count]
        flat = x.reshape(-1, 1, *x.shape[x.ndim - count :])
        beyond = [amount for p, s in zip(reversed(padding or [0] * count), reversed(stride), strict=True) for amount in (p, p + s - 1)]
        conv = (functional.conv1d, functional.conv2d, functional.conv3d)[count - 1]
        made = conv(functional.pad(flat, beyond), torch.ones(1, 1, *size, dtype=x.dtype), stride=stride, dilation=dilation or 1)
        for axis, length in enumerate(step.shape[-count:]):
            made = made.narrow(2 + axis, 0, length)
        return made.reshape(*lead, *step.shape[-count:])

    return sums


def _wide(value: Any, count: int) -> list[int]:
    """A pooling's sizes, one for each axis; [] where none is given."""
    found = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
    return found * count if len(found) == 1 else found


def _max_pool(step: Step) -> Any:
    made = Paths(_window(step)(step.given["self"].sums))
    return (made, None) if step.name.endswith("with_indices") else made


def _average_pool(step: Step) -> Any:
    """Weights 1/k, with the k of each window as the operation itself counts it."""
    x, sums = step.given["self"].sums, _window(step)
    ones = torch.ones_like(x)
    share = step.again(lambda value: ones if isinstance(value, Paths) else value).sums / sums(ones)
    return Paths(sums(x) * share**step.q)


def _adaptive(step: Step) -> Any:
    """Windows of different lengths that cover an axis; a maximum is the sum, an average has weights 1/k."""
    x = step.given["self"].sums
    count = int(next(char for char in step.name if char.isdigit()))
    sizes = torch.ones((), dtype=torch.float64)
    for before, after in zip(x.shape[-count:], step.shape[-count:], strict=True):
        ends = torch.tensor([-(-(i + 1) * before // after) - i * before // after for i in range(after)], dtype=torch.float64)
        sizes = sizes.unsqueeze(-1) * ends
    average: Callable[..., Tensor] = (functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)[count - 1]
    mean = average(x, step.shape[-count:])
    made = Paths(mean * sizes if "max" in step.name else mean * sizes ** (1 - step.q))
    return (made, None) if "max" in step.name else made


def _mean(step: Step) -> Any:
    x = step.given["self"].sums
    made = step.again(step.weighed).sums
    return Paths(made * (x.numel() / made.numel()) ** (1 - step.q))


def _order_statistic(step: Step) -> Any:
    """Any entry along the axis may be chosen: the sum of all, at every place of the result."""
    if "other" in step.given:
        return _added(step)
    x, dim = step.given["self"].sums, step.given.get("dim")
    axes = tuple(range(x.ndim)) if dim in (None, []) else dim
    total = x.sum(axes, keepdim=True) if axes != () else x
    made = total.expand(step.shape).clone() if len(step.shape) == x.ndim else total.reshape(step.shape)
    several = len(step.node.target._schema.returns) > 1  # type: ignore[union-attr]
    return (Paths(made), None) if several else Paths(made)


def _norm(step: Step) -> Any:
    """Batch normalization in evaluation: a x + b for every channel."""
    x = step.given["input"].sums
    affine = _affine(step)
    if affine is None:
        return None
    shape = [1, -1, *[1] * (x.ndim - 2)]
    gain, shift = (powered(part, step.q).reshape(shape) for part in affine)
    made = Paths(x * gain + shift)
    return made if len(step.node.target._schema.returns) == 1 else (made, None, None)  # type: ignore[union-attr]


def _affine(step: Step) -> tuple[Tensor, Tensor] | None:
    """Gain and shift; None where the statistics are the batch's."""
    mean, variance = step.given.get("running_mean"), step.given.get("running_var")
    if mean is None or variance is None or step.given.get("training"):
        return None
    weight, bias = step.given.get("weight"), step.given.get("bias")
    gain = (variance + step.given["eps"]).rsqrt() * (1.0 if weight is None else weight)
    return gain, (0.0 if bias is None else bias) - mean * gain


_NORMS = ("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm")
_FOLDS = ("linear", "conv1d", "conv2d", "conv3d", "convolution")


def fold_norm(step: Step, of: Callable[[Any], Any]) -> Any:
    """A batch normalization right behind a layer that feeds nothing else: one layer with the product of both; None otherwise."""
    before = step.node.args[0] if step.node.args else None
    if step.name not in _NORMS or not isinstance(before, Node) or len(before.users) > 1 or not isinstance(before.target, torch._ops.OpOverload):
        return None
    layer = Step(before, of(list(before.args)), {key: of(value) for key, value in before.kwargs.items()}, step.q)
    affine = _affine(step)
    if layer.name not in _FOLDS or affine is None or (layer.name == "linear" and len(layer.shape) != 2) or layer.given.get("transposed"):
        return None
    weight, bias, (gain, shift) = layer.given["weight"], layer.given.get("bias"), affine
    if not isinstance(weight, Tensor) or not isinstance(layer.given["input"], Paths):
        return None
    new = {"weight": weight * gain.reshape(-1, *[1] * (weight.ndim - 1)), "bias": shift if bias is None else bias * gain + shift}
    given = {key: step.weighed(new.get(key, value)) for key, value in layer.given.items()}
    order = [argument.name for argument in before.target._schema.arguments]
    made = Paths(before.target(*(given[name] for name in order)))
    return made if len(step.node.target._schema.returns) == 1 else (made, None, None)  # type: ignore[union-attr]


def _table(entries: Sequence[tuple[str, Operation]]) -> dict[str, Operation]:
    return {name: operation for names, operation in entries for name in names.split()}


_DIMS = (1, 2, 3)
OPERATIONS = _table(
    [
        ("contiguous clone detach alias dropout feature_dropout alpha_dropout lift_fresh_copy identity", _moved),
        ("view reshape _unsafe_view flatten unflatten squeeze unsqueeze ravel expand broadcast_to transpose t numpy_T mT permute movedim", _moved),
        ("split split_with_sizes chunk tensor_split unbind slice narrow select flip roll index_select repeat repeat_interleave", _moved),
        ("cat concat concatenate stack pixel_shuffle pixel_unshuffle channel_shuffle", _moved),
        (" ".join(f"upsample_nearest{n}d" for n in _DIMS), _moved),
        ("sum cumsum", _moved),
        ("linear matmul mm bmm mv dot addmm baddbmm einsum convolution", _product),
        (" ".join(f"conv{n}d conv_transpose{n}d" for n in _DIMS), _product),
        ("mul div", _scaled),
        ("add sub rsub maximum minimum", _added),
        ("relu neg to _to_copy type_as", _same),
        ("clamp clamp_min", _clamp),
        ("pad constant_pad_nd", _padded),
        (" ".join(f"max_pool{n}d max_pool{n}d_with_indices" for n in _DIMS), _max_pool),
        (" ".join(f"avg_pool{n}d" for n in _DIMS), _average_pool),
        (" ".join(f"adaptive_avg_pool{n}d _adaptive_avg_pool{n}d adaptive_max_pool{n}d" for n in _DIMS), _adaptive),
        ("mean", _mean),
        ("max min amax amin sort topk median kthvalue", _order_statistic),
        (" ".join(_NORMS), _norm),
    ]
)
