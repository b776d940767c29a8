"""Attributes of modules that repeat a size and must follow it: `num_heads`, `split_size`, `normalized_shape`, `groups`, ...

What torch's own layers keep is known. For the others every number that equals a size of one of the module's own tensors (or of those
of its children) is taken for that size. Where several sizes fit one number, `candidates` keeps them all, and the elastic model
tries them on the example (settle.py).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from ..weights.axes import Axes, Axis
from .sizes import Size

#: torch's own layers: class -> attribute -> (tensor, axis)
_KNOWN: dict[type, dict[str, tuple[str, int]]] = {
    nn.Linear: {"in_features": ("weight", 1), "out_features": ("weight", 0)},
    nn.modules.batchnorm._BatchNorm: {"num_features": ("weight", 0)},
    nn.modules.instancenorm._InstanceNorm: {"num_features": ("weight", 0)},
    nn.GroupNorm: {"num_channels": ("weight", 0)},
    nn.Embedding: {"num_embeddings": ("weight", 0), "embedding_dim": ("weight", 1)},
    nn.PReLU: {"num_parameters": ("weight", 0)},
    nn.RNNCellBase: {"input_size": ("weight_ih", 1), "hidden_size": ("weight_hh", 1)},
}
#: what is in the names of attributes that are sizes
_OF_SIZES = ("size", "dim", "head", "width", "channel", "feature", "num", "group", "rep", "embed", "hidden", "inner", "scal", "planes", "units")
#: of torch's layers, what no forward pass reads
SHOWN = ("in_features", "out_features", "in_channels", "out_channels", "num_channels", "num_embeddings", "embedding_dim", "num_parameters")
_SKIPPED = ("training", "_is_full_backward_hook")


def known(name: str, module: nn.Module, axes: Axes, size: Callable[[Axis], Size]) -> Iterator[tuple[str, Callable[[Mapping[str, Any]], Any], Size]]:
    """(attribute, how it follows from values, the size behind it) of torch's own layers."""

    def of(tensor: str, axis: int) -> Size | None:
        layout = axes.layouts.get(f"{name}.{tensor}" if name else tensor)
        return size(layout.axes[axis]) if layout else None

    for kind, attributes in {**_KNOWN, "Conv1D": {"nx": ("weight", 0), "nf": ("weight", 1)}}.items():
        if type(module).__name__ == kind or (isinstance(kind, type) and isinstance(module, kind)):
            for attribute, (tensor, axis) in attributes.items():
                if (found := of(tensor, axis)) and hasattr(module, attribute):
                    yield attribute, found, found
    for kind, special in _SPECIAL.items():
        if isinstance(module, kind):
            yield from special(module, of)


Known = Iterator[tuple[str, Callable[[Mapping[str, Any]], Any], Size]]
Of = Callable[[str, int], Size | None]


def _norm(module: Any, of: Of) -> Known:
    lengths = [found for axis in range(len(module.normalized_shape)) if (found := of("weight", axis))]
    for length in lengths:
        yield "normalized_shape", lambda values: tuple(each(values) for each in lengths), length


def _group_norm(module: Any, of: Of) -> Known:
    if found := of("weight", 0):
        groups = _leading(found, module.num_groups)
        yield "num_groups", groups, groups


def _convolution(layer: Any, of: Of) -> Known:
    first, second = of("weight", 0), of("weight", 1)
    if not (first and second):
        return
    groups = _leading(first, layer.groups) if layer.groups > 1 else Size(((1,),), {}, {})
    apart, joined = ("in_channels", "out_channels") if layer.transposed else ("out_channels", "in_channels")
    yield apart, first, first
    yield joined, lambda values: second(values) * groups(values), second
    if layer.groups > 1:
        yield "groups", groups, groups
        yield joined, lambda values: second(values) * groups(values), groups


_SPECIAL: dict[Any, Callable[[Any, Of], Known]] = {
    nn.LayerNorm: _norm,
    nn.RMSNorm: _norm,
    nn.GroupNorm: _group_norm,
    nn.modules.conv._ConvNd: _convolution,
}


def _leading(axis: Size, count: int) -> Size:
    """The first factors of an axis that make up a number of groups."""
    if len(axis.axis) == 1:
        term = axis.axis[0]
        for end in range(1, len(term) + 1):
            part = Size((term[:end],), axis.whole, axis.field)
            if _full(part) == count:
                return part
    return Size(((count,),), axis.whole, axis.field)


def _full(size: Size) -> int:
    return Size(size.axis, size.whole, {})({})


def torchs_own(module: nn.Module) -> bool:
    """True for layers of torch (and the one of GPT-2), whose attributes are known."""
    ours = type(module).__module__.startswith("torch.nn.modules") and not isinstance(module, nn.MultiheadAttention)
    return ours or type(module).__name__ == "Conv1D"


def candidates(name: str, module: nn.Module, axes: Axes, size: Callable[[Axis], Size]) -> Iterator[tuple[str, list[Size | None]]]:
    """(attribute, sizes that it may repeat, likeliest first) of any other module; None stands for a number that stays."""
    own, below = _pools(name, axes, size)
    for key, value in vars(module).items():
        if key in _SKIPPED or isinstance(value, bool) or not isinstance(value, int | float) or (isinstance(value, int) and value < 2):
            continue
        fitting = [found for found in (*own, *below) if _fits(found, value) and found.fields]
        if fitting:
            stays: list[Size | None] = [None]
            yield key, sorted([*dict.fromkeys(fitting), *stays], key=lambda found: _unlikely(key, found))


def of_bare_norm(name: str, module: nn.Module, axes: Axes, size: Callable[[Axis], Size]) -> Iterator[tuple[str, list[Size | None]]]:
    """(attribute, sizes) of a norm without weights, from the tensors beside it."""
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and module.weight is None and len(module.normalized_shape) == 1:
        beside, found = name, list[Size | None]()
        while beside and not found:
            beside = beside.rpartition(".")[0]
            pool = (s for several in _pools(beside, axes, size) for s in several)
            found = [s for s in dict.fromkeys(pool) if _full(s) == module.normalized_shape[0] and s.fields]
        if found:
            yield "normalized_shape", [*found, None]


def follows(size: Size, value: Any) -> Callable[[Mapping[str, Any]], Any]:
    """The attribute as a function of values: the size, or one over its root, the scale of attention."""
    if isinstance(value, tuple):
        return lambda values: (size(values),)
    return (lambda values: size(values) ** -0.5) if isinstance(value, float) else size


def _fits(size: Size, value: float) -> bool:
    """A number with a point is the scale of attention, which goes by the size of heads and by nothing else: no trial would tell."""
    if isinstance(value, int):
        return _full(size) == value
    return _words(size) in (["dims"], ["values"]) and _full(size) > 1 and abs(_full(size) ** -0.5 - value) < 1e-9


def _words(size: Size) -> list[str]:
    """The last words of the names of its spaces."""
    return [factor.rpartition(".")[2] for term in size.axis for factor in term if isinstance(factor, str)]


def _unlikely(key: str, size: Size | None) -> float:
    """0 for a size whose name speaks of the same as the attribute's; a number whose name does not speak of a size rather stays."""
    if size is None:
        return 1.5 if any(word in key for word in _OF_SIZES) else -1
    factors = _words(size)
    if "group" in key or "rep" in key:
        return 0 if factors == ["queries"] else 2
    if "head_dim" in key or "head_size" in key or key in ("scale", "scaling"):
        return 0 if factors in (["dims"], ["values"]) else 2
    if "head" in key and "size" not in key and "dim" not in key:
        return 0 if factors in (["heads"], ["heads", "queries"]) else 2
    if "split" in key or "all_" in key or "inner" in key or "kdim" in key or "vdim" in key:
        return 0 if "heads" in factors else 1
    return 1


def _pools(name: str, axes: Axes, size: Callable[[Axis], Size]) -> tuple[list[Size], list[Size]]:
    """Sizes in a module's own tensors, and in those of its children."""
    prefix = f"{name}." if name else ""
    own: list[Size] = []
    below: list[Size] = []
    for tensor, layout in axes.layouts.items():
        if not tensor.startswith(prefix):
            continue
        depth = tensor.removeprefix(prefix).count(".")
        if depth > 2:
            continue
        pool = own if depth == 0 else below
        for axis in layout.axes:
            if axis:
                pool.append(size(axis))
            for term in axis:
                pool += [size((term[i:j],)) for i in range(len(term)) for j in range(i + 1, len(term) + 1)]
    return own, below
