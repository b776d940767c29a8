"""`axes(model, example)`: find the table by tracing."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ...errors import BadParameter
from ..memory import from_module, from_tensors
from ..names import listed
from ..weights import Weights
from .ease import Ease
from .express import expressed
from .graph import chosen, traced
from .labels import Ledger
from .solve import Solution, solve
from .table import Axes
from .trace import Walk


def axes(
    model: nn.Module,
    example: Any,
    kwargs: Mapping[str, Any] | None = None,
    *,
    outputs: Callable[[Any], Any] | None = None,
) -> Axes:
    """Which axes of which tensors of a model carry the same units: hidden widths, residual streams, heads, dims of heads.

    The model is traced on an example (by `torch.export`, which sees all of it and runs nothing; where that fails because the path
    depends on data, one run is recorded, and `how` says so). Every operation says which units it puts together; one that is not
    understood makes the units it touches stay where they are, and is named in `notes`. Nothing is guessed; `verify` proves it.

    Args:
        model: any module; it is left as it was.
        example: its input, a tuple of its inputs, or a dict of keyword arguments.
        kwargs: keyword arguments besides.
        outputs: what of the model's output must stay as it is, `lambda out: out.logits`; without it all of it, also hidden
            states, caches and whatever else a model returns, and the units of these stay where they are.

    Raises:
        BadParameter: the model does not run on the example.

    >>> print(axes(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(1, 3)))
    # found by torch.export
    layer.0 = 8 scales
    0.weight : layer.0 <- 3
    0.bias : layer.0
    2.weight : 2 <- layer.0
    2.bias : 2
    """
    weights = _described(model)
    args, named = _beside(model, arguments(example, kwargs))
    with chosen(model, outputs):
        graph = traced(model, args, named)
    ledger = Walk(graph, {name: weights.ties.get(name, name) for name in weights.names}).run()
    shapes = {name: weights.spec[name].shape for name in weights.physical}
    ease = Ease(ledger)
    while True:
        solution = solve(ledger)
        found, bad = expressed(solution, ledger.consumed, shapes)
        if found:
            break
        ease.step(solution, bad)
    layouts = dict(found.layouts) | {alias: found.layouts[owner] for alias, owner in weights.ties.items()}
    return Axes.of(found.spaces, {name: layouts[name] for name in weights.names}, graph.how, (*_notes(ledger, solution), *ease.notes(solution)))


def _notes(ledger: Ledger, solution: Solution) -> Iterator[str]:
    """What stays as it is, and why."""
    for operation, where in dict.fromkeys(ledger.left):
        yield f"{operation} in {where} is not understood: the units that it touches stay"
    why: dict[str, dict[str, None]] = {}
    for (tensor, _), units in solution.slots.items():
        for reason in {solution.reasons.get(unit, "") for unit in units.tolist()}:
            why.setdefault(reason, {})[tensor] = None
    for reason, tensors in sorted(why.items()):
        if reason and not reason.endswith("is not understood"):
            yield f"units of {listed(tensors)} stay: {reason}"


def _described(model: nn.Module) -> Weights:
    """Names, shapes and ties; a model without data is described by tensors that take no memory."""
    state = model.state_dict(keep_vars=True)
    if not any(tensor.is_meta for tensor in state.values()):
        return from_module(model)
    blank = {id(tensor): torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for tensor in state.values()}
    return from_tensors({name: blank[id(tensor)] for name, tensor in state.items()}, type(model).__name__)


def _beside(model: nn.Module, inputs: Any) -> Any:
    """Inputs without data for a model without data."""
    if not any(tensor.is_meta for tensor in model.parameters()):
        return inputs
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, Tensor) else leaf, inputs)


def arguments(example: Any, kwargs: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments from an example as users give it."""
    match example:
        case Mapping():
            return (), {**example, **(kwargs or {})}
        case Tensor():
            return (example,), dict(kwargs or {})
        case tuple() | list():
            return tuple(example), dict(kwargs or {})
    raise BadParameter(f"the example inputs are a {type(example).__name__}; give a tensor, a tuple of inputs or a dict of keyword arguments.")
