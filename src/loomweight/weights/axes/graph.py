"""A model as a graph of ATen operations.

`torch.export` comes first: it sees the whole model, runs nothing on real data, and names parameters. A model whose path depends
on its data cannot be exported; then `make_fx` records the operations of one run on the example, and says so.
"""

import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node

from ...errors import BadParameter
from .outputs import tensors_in


@dataclass(frozen=True)
class Traced:
    """A graph, and for its placeholders the parameter or buffer they stand for; the others are inputs.

    Args:
        escaped: parameters whose data is used past the record (`weight.data`): nothing is known of what happens to them.
    """

    graph: Graph
    names: Mapping[str, str]
    constants: Mapping[str, Tensor]
    how: str
    escaped: frozenset[str] = frozenset()


def traced(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Traced:
    """The graph of a model on an example.

    Raises:
        BadParameter: the model does not run on the example, or its run cannot be recorded.
    """
    with _quiet(model), torch.no_grad():
        try:
            return _exported(model, args, kwargs)
        except Exception as error:  # noqa: BLE001  any failure of the exporter is a reason to record a run
            why = _first_line(error)
        try:
            model(*args, **kwargs)
        except Exception as error:
            raise BadParameter(f"{type(model).__name__} does not run on the example inputs ({_shapes(args, kwargs)}): {_first_line(error)}") from error
        try:
            return _recorded(model, args, kwargs, why)
        except Exception as error:
            raise BadParameter(
                f"{type(model).__name__} can neither be exported ({why}) nor recorded ({_first_line(error)}); write its table by hand."
            ) from error


def _exported(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Traced:
    program = torch.export.export(model, args, dict(kwargs), strict=False)
    if any(_not_plain(node) for node in program.graph.nodes):
        program = program.run_decompositions({})  # no operation is taken apart; blocks are, and writing in place is replaced
    if any(_data_dependent(node) for node in program.graph.nodes):
        raise ValueError("the shape of an activation depends on data")
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = {key: program.constants[target] for key, target in signature.inputs_to_lifted_tensor_constants.items()}
    return Traced(program.graph, names, {key: value for key, value in constants.items() if isinstance(value, Tensor)}, "torch.export")


def _not_plain(node: Node) -> bool:
    """Whether a node writes in place, or is a block of operations."""
    if node.op != "call_function" or node.target is operator.getitem:
        return False
    return not isinstance(node.target, torch._ops.OpOverload) or node.target._schema.is_mutable


def _data_dependent(node: Node) -> bool:
    """Whether a result has an axis whose size only a run tells."""
    values = node.meta.get("val")
    results = values if isinstance(values, list | tuple) else [values]
    return any(isinstance(size, torch.SymInt) for value in results if isinstance(value, Tensor) for size in value.shape)


def _recorded(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], why: str) -> Traced:
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils._pytree import tree_flatten, tree_unflatten

    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    names, tensors = list(state), [value.detach().clone() for value in state.values()]
    leaves, shape = tree_flatten((args, dict(kwargs)))
    inputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def call(stored: list[Tensor], given: list[Tensor]) -> Any:
        rest = iter(given)
        args, kwargs = tree_unflatten([next(rest) if isinstance(leaf, Tensor) else leaf for leaf in leaves], shape)
        return tensors_in(torch.func.functional_call(model, dict(zip(names, stored, strict=True)), args, kwargs))

    with _numbers_kept():
        module = make_fx(call, tracing_mode="real", pre_dispatch=True, _error_on_data_dependent_ops=False)(tensors, inputs)
    places = [node.name for node in module.graph.nodes if node.op == "placeholder"]
    constants = {node.name: getattr(module, str(node.target)) for node in module.graph.nodes if node.op == "get_attr"}
    constants = {name: value for name, value in constants.items() if isinstance(value, Tensor)}
    how = f"make_fx, one run on the example, because torch.export failed: {why}"
    return Traced(module.graph, dict(zip(places, names, strict=False)), constants, how, _escaped(names, tensors, constants))


def _escaped(names: Sequence[str], tensors: Sequence[Tensor], constants: Mapping[str, Tensor]) -> frozenset[str]:
    """Stored tensors whose memory is that of a constant of the graph."""
    memory = {value.untyped_storage().data_ptr() for value in constants.values()} - {0}
    return frozenset(name for name, tensor in zip(names, tensors, strict=True) if tensor.untyped_storage().data_ptr() in memory)


@contextmanager
def _numbers_kept() -> Iterator[None]:
    """Numbers taken out of tensors stay in a recorded graph although nothing in it uses them: the path that was taken may."""
    from torch.fx.node import _side_effectful_functions as known

    aten = torch.ops.aten
    new = {aten.item.default, aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default, aten.allclose.default} - known
    known.update(new)
    try:
        yield
    finally:
        known.difference_update(new)


@contextmanager
def chosen(model: nn.Module, outputs: Callable[[Any], Any] | None) -> Iterator[None]:
    """The model returns what `outputs` makes of its output, for the time being."""
    if outputs is None:
        yield
        return
    hook = model.register_forward_hook(lambda module, inputs, output: outputs(output))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _quiet(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, plain attention kernels, no warnings, logs and prints of the tracer; all as before afterwards."""
    training = {module: module.training for module in model.modules()}
    disabled = logging.root.manager.disable
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            yield
    finally:
        logging.disable(disabled)
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in training.items():
            module.training = mode


def _shapes(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    return ", ".join(str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__ for value in (*args, *kwargs.values()))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"
