"""The path-norm of a ReLU network: the q-norm of the products of weights along all paths, in one forward pass.

Paper: A path-norm toolkit for modern networks: consequences, promises and challenges (2023, https://arxiv.org/abs/2310.01225), definition
of the path-lifting and theorem A.1. Original code: https://github.com/agonon/pathnorm_toolkit (compute_path_norm.py). We differ
in three places. The code takes the absolute values of each number that a batch normalization keeps, its mean among them, which
is the path-norm of no network; ours is that of the affine map it is, folded into the layer before where that layer feeds
nothing else. An average over k entries has weights 1/k, so 1/k^q here, also where several averages follow one another and at
borders. The code knows ResNets by name; ours is any traced network.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from ..errors import BadParameter
from ..weights import Weights
from ..weights.axes.find import arguments
from ..weights.axes.graph import traced
from .path_ops import OPERATIONS, Paths, Step, fold_norm, powered


def path_norm(model: nn.Module, example: Any, *, weights: Weights | None = None, q: float = 1.0, kwargs: Mapping[str, Any] | None = None) -> float:
    """The L^q path-norm of a network of ReLU, max-pooling and whatever is linear,

        ( sum over paths p of  |product of the weights along p|^q ) ^ (1/q),

    where a path goes from an input or a bias to an output. It bounds how the outputs can change, and does not change when units are
    permuted or rescaled. Computed as the sum of the outputs on an input of ones, with |w|^q for every weight and bias, and a sum in
    the place of a maximum; in float64.

    Args:
        model: linear layers, convolutions, batch normalization (as in evaluation), ReLU, pooling (average, maximum), sums, order
            statistics (sort, topk, maximum), skip connections, and moves of data. It is left as it was.
        example: inputs, only their shapes matter; examples along the first axis (one is enough).
        weights: in the place of the model's own.
        q: at least 1; 2 is the usual other one.
        kwargs: keyword arguments besides.

    Raises:
        BadParameter: an operation that is no ReLU network's (softmax, a curved activation, layer norm, a product of activations):
            the message names it and the module; q below 1; the model does not run.

    >>> model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    >>> state = {"0.weight": [[1.0, -2.0]], "0.bias": [3.0], "2.weight": [[-4.0]], "2.bias": [5.0]}
    >>> path_norm(model, torch.zeros(1, 2), weights=Weights.of({name: torch.tensor(value) for name, value in state.items()}))
    29.0
    """
    if not 1 <= q < float("inf"):
        raise BadParameter(f"q must be a number of 1 or more, found {q}.")
    args, named = arguments(example, kwargs)
    stored = {**dict(model.named_parameters()), **dict(model.named_buffers())} | (dict(weights) if weights else {})
    walk = _Walk(q, {name: _double(tensor.detach()) for name, tensor in stored.items()})
    inputs = [value for value in (*args, *named.values()) if isinstance(value, Tensor) and value.ndim]
    total = walk.run(traced(model, args, named))
    return float(total / (len(inputs[0]) if inputs else 1)) ** (1 / q)


class _Walk:
    """The graph once, with sums over paths in the place of activations. What is made of stored tensors alone is computed as it is."""

    def __init__(self, q: float, stored: Mapping[str, Tensor]) -> None:
        self.q, self.stored = q, stored
        self.values: dict[Node, Any] = {}

    def run(self, found: Any) -> Tensor:
        """The sum over all outputs."""
        for node in found.graph.nodes:
            if node.op == "placeholder" or node.op == "get_attr":
                self.values[node] = self._given(node, found)
            elif node.op == "call_function":
                self.values[node] = self._called(node)
            elif node.op == "output":
                return torch.stack([part.sum() for part in _flat(self._of(node.args), self.q)]).sum()
        raise BadParameter("the model has no output.")

    def _given(self, node: Node, found: Any) -> Any:
        if (name := found.names.get(node.name)) in self.stored:
            return self.stored[name]
        if node.name in found.constants:
            return _double(found.constants[node.name])
        example = node.meta.get("val", node.meta.get("tensor_meta"))
        return Paths(torch.ones(tuple(example.shape), dtype=torch.float64)) if isinstance(example, Tensor) else example

    def _called(self, node: Node) -> Any:
        args, kwargs = self._of(list(node.args)), {key: self._of(value) for key, value in node.kwargs.items()}
        if not any(isinstance(value, Paths) for value in _leaves([args, kwargs])):
            return node.target(*args, **kwargs)  # type: ignore[operator,misc]
        if not isinstance(node.target, torch._ops.OpOverload):
            return args[0][args[1]]
        step = Step(node, args, kwargs, self.q)
        folded = fold_norm(step, self._of)
        if folded is not None:
            return folded
        operation = OPERATIONS.get(step.name)
        made = operation(step) if operation else None
        if made is None:
            raise BadParameter(
                f"{step.name} in {step.where} is not an operation of a ReLU network (linear maps, ReLU, maxima, averages), so paths through it"
                " have no product of weights; the path-norm of this model is not defined."
            )
        return made

    def _of(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self.values[value]
        return type(value)(map(self._of, value)) if isinstance(value, list | tuple) else value


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list | tuple) else [value]


def _flat(value: Any, q: float) -> list[Tensor]:
    """The outputs; one that depends on no input counts as biases do."""
    return [leaf.sums if isinstance(leaf, Paths) else powered(leaf, q) for leaf in _leaves(value) if isinstance(leaf, Paths | Tensor)]
