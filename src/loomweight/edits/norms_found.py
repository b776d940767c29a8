"""Which normalizations of a traced model can go into the layers beside them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from ..weights.axes.find import arguments
from ..weights.axes.graph import Traced, traced
from ..weights.memory import from_module
from .fold_norm import BatchFold, GainFold

_LAYERS = {"linear": 0, "conv1d": 0, "conv2d": 0, "conv3d": 0, "conv_transpose1d": 1, "conv_transpose2d": 1, "conv_transpose3d": 1}
_BATCH = ("batch_norm", "_native_batch_norm_legit_no_training")
#: the last axis stays what it is
_PASSES = ("to", "_to_copy", "contiguous", "clone", "detach", "alias", "dropout", "view", "reshape", "_unsafe_view", "unsqueeze", "expand")


def found(model: nn.Module, example: Any, kwargs: Mapping[str, Any] | None) -> Iterator[BatchFold | GainFold]:
    """Folds in the order of the graph."""
    args, named = arguments(example, kwargs)
    graph = traced(model, args, named)
    walk = _Graph(model, graph)
    for node in graph.graph.nodes:
        made = walk.batch(node) or walk.gain(node) if node.op == "call_function" else None
        if made:
            yield made


class _Graph:
    """A graph and the stored tensors in it."""

    def __init__(self, model: nn.Module, graph: Traced) -> None:
        self.names, ties = graph.names, from_module(model).ties
        self.stored = set(from_module(model).names)
        self.uses: Counter[str] = Counter()
        for node in graph.graph.nodes:
            if name := self.names.get(node.name):
                self.uses[ties.get(name, name)] += len(node.users)
        self.ties = ties

    def batch(self, node: Node) -> BatchFold | None:
        """A batch normalization and the layer before it."""
        if _name(node) not in _BATCH:
            return None
        norm = _given(node)
        layer = norm["input"]
        if not isinstance(layer, Node) or _name(layer) not in _LAYERS or len(layer.users) > 1 or norm.get("training"):
            return None
        given = _given(layer)
        flat_only = _name(layer) == "linear" and len(_shape(layer)) != 2
        if flat_only or (_LAYERS[_name(layer)] == 1 and given["groups"] != 1):
            return None
        weight, bias, gain, shift = (self._once(part) for part in (given["weight"], given.get("bias"), norm["weight"], norm["bias"]))
        mean, variance = self._once(norm["running_mean"]), self._once(norm["running_var"])
        kept = all(name is not None for name, part in ((bias, given.get("bias")), (gain, norm["weight"]), (shift, norm["bias"])) if part is not None)
        if not (weight and mean and variance and kept and (bias or shift)):
            return None
        return BatchFold(weight, _LAYERS[_name(layer)], bias, gain, shift, mean, variance, norm["eps"])

    def gain(self, node: Node) -> GainFold | None:
        """A norm's weight, or a stored vector times an activation, and the linear layers that read the product."""
        given = _given(node)
        if _name(node) in ("layer_norm", "rms_norm") and len(given["normalized_shape"]) == 1:
            gain, shift = given["weight"], given.get("bias")
        elif _name(node) == "mul":
            vectors = [part for part in (given["self"], given["other"]) if self._once(part) and len(_shape(part)) == 1]
            gain, shift = (vectors[0], None) if len(vectors) == 1 and _shape(vectors[0])[-1:] == _shape(node)[-1:] else (None, None)
        else:
            return None
        readers = self._readers(node) if self._once(gain) and (shift is None or self._once(shift)) else None
        return GainFold(str(self._once(gain)), self._once(shift), tuple(readers)) if readers else None

    def _readers(self, node: Node) -> list[tuple[str, int, str | None]] | None:
        """Linear layers that read it; None where anything else does."""
        found: list[tuple[str, int, str | None]] = []
        for user in node.users:
            given, name = (_given(user), _name(user)) if user.op == "call_function" else ({}, "")
            if (name in _PASSES and _shape(user)[-1:] == _shape(node)[-1:]) or _keeps_last(name, given, len(_shape(node))):
                further = self._readers(user)
                if further is None:
                    return None
                found += further
            elif name == "linear" and given["input"] is node:
                found.append((self._once(given["weight"]) or "", 1, self._bias(given["bias"])))
            elif name == "addmm" and given["mat1"] is node and given["beta"] == given["alpha"] == 1:
                found.append((self._once(given["mat2"]) or "", 0, self._bias(given["self"])))
            else:
                return None
        return found if found and all(weight and bias != "" for weight, _, bias in found) else None

    def _bias(self, part: Any) -> str | None:
        """None: there is none; '': it is not one that may change."""
        return None if part is None else self._once(part) or ""

    def _once(self, part: Any) -> str | None:
        """The name of a stored tensor that is used in this one place."""
        name = self.names.get(part.name) if isinstance(part, Node) else None
        return name if name in self.stored and self.uses[self.ties.get(name, name)] == 1 else None


def _keeps_last(name: str, given: dict[str, Any], ndim: int) -> bool:
    """Whether axes are exchanged, and the last is not among them."""
    if name == "transpose":
        return ndim - 1 not in (given["dim0"] % ndim, given["dim1"] % ndim)
    return name == "permute" and given["dims"][-1] % ndim == ndim - 1


def _name(node: Node) -> str:
    return node.target._schema.name.split("::")[1] if isinstance(node.target, torch._ops.OpOverload) else ""


def _given(node: Node) -> dict[str, Any]:
    """Arguments by name, defaults filled in."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return {}
    schema = node.target._schema.arguments
    default = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    return default | {argument.name: value for argument, value in zip(schema, node.args, strict=False)} | dict(node.kwargs)


def _shape(node: Any) -> tuple[int, ...]:
    value = node.meta.get("val", node.meta.get("tensor_meta")) if isinstance(node, Node) else None
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()
