"""What of a model is averaged, by name: trainable parameters, each once, and the floating buffers that are saved with it."""

import sys
from collections.abc import Container, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NamesDiffer, ShapesDiffer
from ..weights.names import difference
from ..weights.spec import Spec

_PLAIN = (Tensor, nn.Parameter)


def bare(model: nn.Module) -> nn.Module:
    """The model itself, out of the wrappers of DistributedDataParallel, DataParallel and torch.compile.

    >>> bare(nn.DataParallel(nn.Linear(1, 1)))
    Linear(in_features=1, out_features=1, bias=True)
    """
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel) else getattr(model, "_orig_mod", None)
    return bare(inner) if isinstance(inner, nn.Module) else model


def averaged(model: nn.Module, held: Container[str] = ()) -> dict[str, Tensor]:
    """name -> parameter or buffer, each under its first name. A frozen parameter is left out, and never copied, unless it is in `held`: it was trained before.

    Raises:
        BadParameter: a trainable parameter is complex.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for at, parameters, buffers in _places(model):
        for name, parameter in parameters.items():
            if parameter is None or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            trains = parameter.requires_grad
            if trains and parameter.is_complex():
                raise BadParameter(f"parameter {at + name!r} is complex; averages are taken over real numbers: hold it as two real parameters.")
            if (trains or at + name in held) and _averages(parameter.dtype):
                found[at + name] = parameter
        for name, buffer in buffers.items():
            if buffer is not None and _averages(buffer.dtype) and id(buffer) not in seen:
                seen.add(id(buffer))
                found[at + name] = buffer
    return found


def _places(model: nn.Module) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """(prefix, parameters, saved buffers) of each module; of an elastic model its whole tensors, whatever subnet is chosen."""
    if hasattr(model, "selected") and callable(getattr(model, "stored", None)):
        state: dict[str, Tensor] = model.state_dict(keep_vars=True)
        parameters = {name: tensor for name, tensor in state.items() if isinstance(tensor, nn.Parameter)}
        yield "", parameters, {name: tensor for name, tensor in state.items() if name not in parameters}
        return
    for at, module in _modules(model):
        left = module._non_persistent_buffers_set
        yield at, module._parameters, {name: buffer for name, buffer in module._buffers.items() if name not in left} if left else module._buffers


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(prefix of its tensors' names, module), each once, in the order of `named_modules`, in half of its time."""
    seen: set[nn.Module] = set()
    todo = [("", model)]
    while todo:
        at, module = todo.pop()
        if module not in seen:
            seen.add(module)
            yield at, module
            todo += [(f"{at}{name}.", child) for name, child in reversed(module._modules.items()) if child is not None]


@cache
def _averages(dtype: torch.dtype) -> bool:
    return Spec((), dtype).averages


def followed(model: nn.Module, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is averaged now, after the model may have changed: names may have come, or have become a second name of another tensor.

    Raises:
        NamesDiffer: a tensor of the average is no longer in the model at all.
        ShapesDiffer: a tensor has another shape now.
    """
    reshard(model)
    found = averaged(model, held)
    gone = [name for name in held if name not in found]
    if gone:
        names = set(model.state_dict(keep_vars=True))
        if lost := [name for name in gone if name not in names]:
            raise NamesDiffer(f"the model no longer has {', '.join(map(repr, lost[:3]))}, which the average holds; drop what is gone with forget(name).")
    for name, total in held.items():
        if name in found and found[name].shape != total.shape and local(found[name]).shape != local(total).shape:
            raise ShapesDiffer(f"tensor {name!r} has shape {tuple(found[name].shape)} now, in the average {tuple(total.shape)}; forget(name) begins anew.")
    return found


def fitting(model: nn.Module, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the model that a saved average is of.

    Raises:
        NamesDiffer, ShapesDiffer: it is the average of another model, or was cut into other shards.
    """
    reshard(model)
    found = averaged(model, saved)
    if lacking := difference(found, saved):
        raise NamesDiffer(f"the saved average is that of another model: {lacking} (first: this model; second: the state).")
    for name, total in saved.items():
        if local(total).shape != local(found[name]).shape:
            raise ShapesDiffer(f"tensor {name!r} has shape {tuple(local(found[name]).shape)}, in the saved average {tuple(local(total).shape)}.")
    return found


def local(tensor: Tensor) -> Tensor:
    """The entries that this process holds: of a sharded tensor (FSDP2) its shard, which is averaged in place; all of any other.

    >>> local(torch.ones(1))
    tensor([1.])
    """
    return tensor if type(tensor) in _PLAIN else getattr(tensor, "_local_tensor", tensor)


def reshard(model: nn.Module) -> None:
    """Let the modules of FSDP2 drop the whole weights that they keep after a forward without a backward: the shards count, and may change."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None or not torch.distributed.is_initialized():
        return
    modules: Iterator[Any] = model.modules()
    for module in modules:
        if isinstance(module, fsdp.FSDPModule):
            module.reshard()
